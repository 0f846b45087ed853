// Includes only the Asio types that these headers use, so that translation units which need just an
// awaitable or an executor do not parse the rest of Asio. Asio is compiled once, in lib/async.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

namespace xenpv {

namespace asio = boost::asio;

}  // namespace xenpv
