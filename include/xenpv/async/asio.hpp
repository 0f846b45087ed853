// The names of Asio that the headers of this room need, and no more of it: units that only hold an
// awaitable or an executor need not pay for the rest. Asio itself is compiled once, in lib/async.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace xenpv::async {

namespace asio = boost::asio;

}  // namespace xenpv::async
