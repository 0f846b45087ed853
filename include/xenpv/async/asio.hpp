// Includes only the few Asio types that these headers need, so that translation units that only use
// an awaitable or an executor do not parse the rest of Asio. Asio itself is compiled once, in
// lib/async.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace xenpv::async {

namespace asio = boost::asio;

}  // namespace xenpv::async
