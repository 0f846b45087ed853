#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <cstdlib>

#include "xenpv/base/error.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::nbd {
namespace {

class no_device final : public blk::block_device {
 public:
  [[nodiscard]] std::size_t queue_count() const noexcept override { return 1; }
  [[nodiscard]] blk::block_queue& queue(std::size_t) noexcept override { std::abort(); }
};

TEST(tls_server, needs_credentials) {
  boost::asio::io_context context(1);
  no_device device;
  for (const auto mode : {tls_mode::on, tls_mode::require}) {
    server_options how;
    how.tls = mode;
    try {
      const server refused(context.get_executor(), device, how);
      FAIL() << "it was made";
    } catch (const failure& problem) {
      EXPECT_STREQ(problem.what(),
                   "serve over TLS: invalid argument (it needs certificates or pre-shared keys)");
    }
  }
}

}  // namespace
}  // namespace xenpv::nbd
