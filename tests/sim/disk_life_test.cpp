// Events on a disk in use: resize, unplug, restart, power cut, faults. The test acts as the guest,
// with a raw frontend, and as the toolstack, through domain 0's xenstore connection.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <cstring>

#include "sim/raw_frontend.hpp"

namespace xenpv::sim {
namespace {

using enum wire::xenbus_state;
using wire::blkif_op;

/// One disk of this guest, as seen by domain 0.
class toolstack_view {
 public:
  explicit toolstack_view(const std::string& directory)
      : store_(open_store()),
        directory_(fmt::format("{}/{}", store_.domain_path(domid_0), directory)) {}

  void write(const std::string& node, const std::string& value) {
    store_.write(directory_ + "/" + node, value);
  }
  void unplug() {
    store_.transact([&](xen::store_transaction& all) {
      all.write(directory_ + "/online", "0");
      all.write(directory_ + "/state", "5");
    });
  }
  /// Waits until the backend writes its error node, and returns the node's value.
  [[nodiscard]] std::string await_error() {
    auto path = directory_ + "/error";
    path.insert(path.find("/backend/"), "/error");
    store_.watch(path, "error");
    for (;;) {
      if (const auto text = store_.read_if_exists(path)) return *text;
      pollfd poll{store_.watch_descriptor(), POLLIN, 0};
      if (::poll(&poll, 1, 20'000) <= 0) return "";
      while (store_.next_event()) {
      }
    }
  }

 private:
  static xen::store open_store() {
    const std::string ours = std::getenv("XENSTORED_PATH");
    const std::string host = ours.substr(0, ours.rfind("/dom"));
    ::setenv("XENSTORED_PATH", (host + "/dom0/xenstored").c_str(), 1);
    auto store = xen::store::open();
    ::setenv("XENSTORED_PATH", ours.c_str(), 1);
    return store;
  }
  xen::store store_;
  std::string directory_;
};

class disk_in_use : public ::testing::Test {
 protected:
  void use(unsigned device, const std::string& kind = "vbd") {
    front.emplace(device);
    toolstack.emplace(fmt::format("backend/{}/1/{}", kind, device));
    front->connect(1, 0, true);
  }
  void set_faults(const std::string& faults) {
    toolstack->write("xenpv/fault", faults);
    front->await_node("xenpv/applied-fault", faults);
  }
  int write(std::uint64_t sector, int value) {
    std::memset(front->page(0), value, page_size);
    return front->transfer(blkif_op::write, sector, 0);
  }
  int byte_at(std::uint64_t sector) {
    EXPECT_EQ(front->transfer(blkif_op::read, sector, 1), 0);
    return std::to_integer<int>(front->page(1)[0]);
  }
  /// Reconnects like a frontend whose backend has restarted.
  void reconnect() {
    front->close();
    front->set_state(initialising);
    front->connect(1, 0, true);
  }

  std::optional<raw_frontend> front;
  std::optional<toolstack_view> toolstack;
};

TEST_F(disk_in_use, can_be_resized) {
  use(51728);
  EXPECT_EQ(write(16384, 1), -1);
  toolstack->write("xenpv/size", "16777216");
  front->await_node("sectors", "32768");
  EXPECT_EQ(front->backend_node("state"), "4");
  EXPECT_EQ(write(16384, 1), 0);
  toolstack->write("xenpv/size", "8388608");
  front->await_node("sectors", "16384");
  EXPECT_EQ(write(16384, 1), -1);
  toolstack->write("xenpv/size", "1000");
  EXPECT_EQ(toolstack->await_error(),
            "-22 change the size to 1000 bytes: invalid argument (expected a multiple of 512)");
  EXPECT_EQ(front->backend_node("sectors"), "16384");
}

TEST_F(disk_in_use, is_unplugged_when_the_frontend_closes) {
  use(51744);
  toolstack->unplug();
  front->await({closing});
  front->set_state(closing);
  front->set_state(closed);
  front->await({closed});
}

TEST_F(disk_in_use, keeps_its_data_across_a_restart_and_drops_the_old_ring) {
  use(51760);
  ASSERT_EQ(write(8, 0x42), 0);
  toolstack->write("xenpv/command", "restart");
  front->await({init_wait});
  EXPECT_EQ(front->backend_node("sectors"), std::nullopt);
  // The backend does not map the old ring, even though the frontend is still Connected.
  reconnect();
  EXPECT_EQ(byte_at(8), 0x42);
}

TEST_F(disk_in_use, stops_responding_and_recovers_after_a_restart) {
  use(51776);
  ASSERT_EQ(write(8, 0x42), 0);
  set_faults("vanish=1");
  EXPECT_EQ(byte_at(8), 0x42);
  wire::blkif_request unanswered{};
  front->put(unanswered);
  EXPECT_EQ(front->backend_node("state"), "4");
  toolstack->write("xenpv/fault", "");
  toolstack->write("xenpv/command", "restart");
  front->await({init_wait});
  reconnect();
  EXPECT_EQ(byte_at(8), 0x42);
}

TEST_F(disk_in_use, loses_only_unflushed_writes_in_a_power_cut) {
  use(51792);
  ASSERT_EQ(write(0, 0x11), 0);
  ASSERT_EQ(front->flush(), 0);
  for (std::uint64_t page = 0; page < 64; ++page)
    ASSERT_EQ(write(page * 8, 0x22), 0);
  toolstack->write("xenpv/command", "power-cut 7");
  front->await({init_wait});
  reconnect();
  int lost = 0;
  for (std::uint64_t page = 0; page < 64; ++page) {
    const int value = byte_at(page * 8);
    EXPECT_TRUE(value == 0x22 || value == (page == 0 ? 0x11 : 0));
    lost += value == 0x22 ? 0 : 1;
  }
  EXPECT_GT(lost, 10);
  EXPECT_LT(lost, 54);
}

TEST_F(disk_in_use, accepts_new_faults_while_connected) {
  use(51808);
  set_faults("error=1");
  EXPECT_EQ(write(0, 1), -1);
  set_faults("delay=2ms");
  EXPECT_EQ(write(0, 2), 0);
  set_faults("stall");
  wire::blkif_request read{};
  read.nr_segments = 1;
  read.id = 77;
  read.seg[0] = {front->ref(0), 0, 7, 0};
  front->put(read);
  set_faults("none");
  EXPECT_EQ(front->await_response().id, 77u);
  toolstack->write("xenpv/fault", "gremlins");
  EXPECT_EQ(toolstack->await_error().substr(0, 30), "-22 disk fault 'gremlins': inv");
}

TEST_F(disk_in_use, is_no_longer_served_after_its_ring_overflows) {
  use(51824);
  EXPECT_EQ(write(0, 1), 0);
  front->corrupt_request_index(100);
  // Only the connection is lost; the frontend can reconnect.
  reconnect();
  EXPECT_EQ(byte_at(0), 1);
}

TEST_F(disk_in_use, may_be_backed_by_a_file) {
  use(51840);
  EXPECT_EQ(write(16, 0x66), 0);
  EXPECT_EQ(front->flush(), 0);
  EXPECT_EQ(byte_at(16), 0x66);
  EXPECT_EQ(front->transfer(blkif_op::read, 2048, 0), -1);
  toolstack->write("xenpv/size", "2097152");
  front->await_node("sectors", "4096");
  EXPECT_EQ(byte_at(2048), 0);
}

}  // namespace
}  // namespace xenpv::sim
