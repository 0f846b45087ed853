// The few names of Asio that these headers need: units that only hold an awaitable or an executor
// need not parse the rest. Asio itself is compiled once, in lib/async.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace xenpv::async {

namespace asio = boost::asio;

}  // namespace xenpv::async
