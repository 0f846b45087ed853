#include "xenpv/blkfront/device_list.hpp"

#include <gmock/gmock.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

#include "unit/async/fake_xenstore.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::blkfront {
namespace {

using async::test::xenstore;
using enum wire::xenbus_state;
using ::testing::ElementsAre;
using xen::test::fake_root;

class device_list : public testing::Test {
 protected:
  device_list() : control_thread_([this] { control_.run(); }) {}
  ~device_list() override {
    async::test::run(context_, client_.close());
    work_.reset();
    control_thread_.join();
  }

  /// Adds a disk with these nodes and those that every disk has.
  void add_disk(const std::string& number, const std::string& backend,
                const std::map<std::string, std::string>& front,
                const std::map<std::string, std::string>& back) {
    const std::lock_guard guard(xenstore.lock);
    auto& nodes = xenstore.nodes;
    const auto own = "device/vbd/" + number + "/";
    nodes[own + "backend"] = backend;
    nodes[own + "state"] = "1";
    nodes[backend + "/state"] = "2";
    for (const auto& [name, value] : front)
      nodes[own + name] = value;
    for (const auto& [name, value] : back)
      nodes[backend + "/" + name] = value;
  }
  std::vector<listed_device> list() {
    std::vector<listed_device> out;
    auto body = [&]() -> asio::awaitable<void> {
      out = co_await list_devices(client_, tree.root());
    };
    async::test::run(context_, body());
    return out;
  }
  listed_device list_one() {
    auto all = list();
    if (all.size() == 1) return all.front();
    ADD_FAILURE() << all.size() << " disks";
    return {};
  }

  static void set(const std::string& node, const std::string& value) {
    const std::lock_guard guard(xenstore.lock);
    xenstore.nodes[node] = value;
  }
  static void clear() {
    const std::lock_guard guard(xenstore.lock);
    xenstore.nodes.clear();
  }

  fake_root tree;

 private:
  asio::io_context context_{1};
  asio::io_context control_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{control_.get_executor()};
  std::thread control_thread_;
  async::store_client client_{control_.get_executor(), xen::store::open()};
};

constexpr const char* linux_backend = "/local/domain/0/backend/vbd/1/51728";
constexpr const char* qemu_backend = "/local/domain/0/backend/qdisk/1/51728";

TEST_F(device_list, is_empty_in_a_guest_without_disks) {
  EXPECT_TRUE(list().empty());
  set("device/vbd", "");
  EXPECT_TRUE(list().empty());
}

TEST_F(device_list, shows_the_xenstore_nodes_of_a_disk) {
  add_disk("51728", linux_backend, {{"virtual-device", "51728"}, {"device-type", "disk"}},
           {{"params", "/dev/vg/guest"},
            {"mode", "w"},
            {"dev", "xvdb"},
            {"feature-flush-cache", "1"},
            {"feature-barrier", "0"},
            {"feature-discard", "1"},
            {"feature-persistent", "1"},
            {"feature-max-indirect-segments", "256"},
            {"multi-queue-max-queues", "4"},
            {"max-ring-page-order", "4"}});
  const auto disk = list_one();
  EXPECT_EQ(disk.number, 51728U);
  EXPECT_EQ(disk.name, "xvdb");
  EXPECT_EQ(disk.path, "device/vbd/51728");
  EXPECT_EQ(disk.backend, linux_backend);
  EXPECT_EQ(disk.backend_kind, "vbd");
  EXPECT_EQ(disk.params, "/dev/vg/guest");
  EXPECT_EQ(disk.mode, "w");
  EXPECT_EQ(disk.type, "disk");
  EXPECT_EQ(disk.state, initialising);
  EXPECT_EQ(disk.backend_state, init_wait);
  EXPECT_EQ(disk.holder, device_holder::nobody);
  EXPECT_EQ(disk.size, std::nullopt) << "blkback publishes the size on connect";
  EXPECT_EQ(disk.sector_size, 512U);
  EXPECT_THAT(disk.features, ElementsAre("flush", "discard", "persistent", "indirect=256",
                                         "queues=4", "ring-order=4"));
}

TEST_F(device_list, reads_sizes_in_the_units_of_each_backend) {
  add_disk("51728", linux_backend, {},
           {{"sectors", "16384"}, {"sector-size", "512"}, {"info", "0"}});
  EXPECT_EQ(list_one().size, 8U << 20U);
  clear();
  // Linux publishes the size in units of 512 bytes, QEMU in units of its sector size.
  add_disk("51728", linux_backend, {}, {{"sectors", "16384"}, {"sector-size", "4096"}});
  EXPECT_EQ(list_one().size, std::nullopt) << "the unit is unknown without physical-sector-size";
  set(std::string(linux_backend) + "/physical-sector-size", "4096");
  EXPECT_EQ(list_one().size, 8U << 20U);
  EXPECT_EQ(list_one().sector_size, 4096U);
  clear();
  add_disk("51728", qemu_backend, {},
           {{"sectors", "2048"}, {"sector-size", "4096"}, {"info", "0"}});
  EXPECT_EQ(list_one().size, 8U << 20U);
  EXPECT_EQ(list_one().backend_kind, "qdisk");
}

TEST_F(device_list, shows_read_only_disks_and_cdroms_as_such) {
  add_disk("51760", linux_backend, {{"device-type", "cdrom"}}, {{"mode", "r"}});
  EXPECT_EQ(list_one().mode, "r");
  EXPECT_EQ(list_one().type, "cdrom");
}

TEST_F(device_list, reports_the_holder_of_a_disk) {
  add_disk("51728", linux_backend, {}, {});
  EXPECT_EQ(list_one().holder, device_holder::nobody);
  for (const auto* const state : {"3", "4"}) {
    set("device/vbd/51728/state", state);
    EXPECT_EQ(list_one().holder, device_holder::process) << state;
  }
  for (const auto* const state : {"1", "5", "6"}) {
    set("device/vbd/51728/state", state);
    EXPECT_EQ(list_one().holder, device_holder::nobody) << state;
  }
  tree.with("/sys/bus/xen/devices/vbd-51728/nodename");
  EXPECT_EQ(list_one().holder, device_holder::nobody) << "its driver was unbound";
  tree.with("/sys/bus/xen/devices/vbd-51728/driver/module");
  EXPECT_EQ(list_one().holder, device_holder::kernel);
}

TEST_F(device_list, is_sorted_by_number_and_skips_other_names) {
  add_disk("51728", "/a", {}, {});
  add_disk("768", "/b", {}, {});
  add_disk("268439552", "/c", {}, {});
  add_disk("not-a-number", "/d", {}, {});
  std::vector<std::string> names;
  for (const auto& disk : list())
    names.push_back(disk.name);
  EXPECT_THAT(names, ElementsAre("xvda", "xvdb", "xvdq"));
}

TEST_F(device_list, shows_the_guests_name_and_keeps_the_toolstacks) {
  add_disk("768", "/a", {}, {});
  add_disk("2049", "/b", {}, {});
  const auto disks = list();
  ASSERT_EQ(disks.size(), 2U);
  EXPECT_EQ(disks[0].name, "xvda");
  EXPECT_EQ(disks[0].toolstack_name, "hda");
  EXPECT_EQ(disks[0].block_device, std::nullopt) << "no driver is bound";
  EXPECT_EQ(disks[1].name, "xvda1");
  EXPECT_EQ(disks[1].toolstack_name, "sda1");
}

TEST_F(device_list, prefers_the_name_in_sysfs_to_the_numbering_rule) {
  // RHEL 6 names SCSI disks xvde, xvdf, and so on.
  add_disk("2048", "/a", {}, {});
  tree.with("/sys/bus/xen/devices/vbd-2048/block/xvde/dev", "202:64\n");
  EXPECT_EQ(list_one().name, "xvde");
  EXPECT_EQ(list_one().block_device, "xvde");
  EXPECT_EQ(list_one().toolstack_name, "sda");
}

TEST_F(device_list, never_assigns_one_name_to_two_disks) {
  add_disk("768", "/a", {}, {});
  add_disk("51712", "/b", {}, {});
  add_disk("268435456", "/c", {}, {});
  const auto names = [&] {
    std::vector<std::string> out;
    for (const auto& disk : list())
      out.push_back(disk.name);
    return out;
  };
  EXPECT_THAT(names(), ElementsAre("hda", "51712", "268435456"));
  tree.with("/sys/bus/xen/devices/vbd-768/block/xvda/dev", "202:0\n");
  EXPECT_THAT(names(), ElementsAre("xvda", "51712", "268435456"))
      << "the disk with a driver keeps its name";
}

TEST_F(device_list, shows_a_disk_whose_backend_is_missing_or_not_readable) {
  set("device/vbd/51728/backend", linux_backend);
  set("device/vbd/51728/state", "6");
  EXPECT_EQ(list_one().backend_state, std::nullopt);
  EXPECT_EQ(list_one().state, closed);
  add_disk("51728", linux_backend, {}, {{"params", "/secret"}});
  xenstore.forbidden.insert(std::string(linux_backend) + "/params");
  EXPECT_EQ(list_one().params, "");
  EXPECT_EQ(list_one().backend_state, init_wait);
}

TEST_F(device_list, survives_malformed_nodes) {
  add_disk("51728", linux_backend, {{"state", "connected"}, {"device-type", ""}},
           {{"state", "99"},
            {"sectors", "-1"},
            {"sector-size", "0"},
            {"feature-flush-cache", ""},
            {"feature-max-indirect-segments", "many"}});
  const auto disk = list_one();
  EXPECT_EQ(disk.state, unknown);
  EXPECT_EQ(disk.backend_state, unknown);
  EXPECT_EQ(disk.size, std::nullopt);
  EXPECT_EQ(disk.sector_size, 512U);
  EXPECT_THAT(disk.features, ElementsAre("indirect=many"));
}

std::vector<listed_device> some_disks() {
  std::vector<listed_device> out(3);
  out[0].number = 51728;
  out[0].name = "xvdb";
  out[0].params = "/dev/vg/guest";
  out[1].number = 51744;
  out[1].name = "xvdc";
  out[1].params = "aio:/srv/images/disk.img";
  out[2].number = 51760;
  out[2].name = "xvdd";
  out[2].params = "/dev/vg/guest";
  return out;
}

TEST(find_device, finds_a_disk_by_each_of_its_names) {
  const auto disks = some_disks();
  const std::vector<std::pair<std::string, unsigned>> table = {
      {"xvdb", 51728},
      {"/dev/xvdb", 51728},
      {"51728", 51728},
      {"device/vbd/51728", 51728},
      {"xvdc", 51744},
      {"/srv/images/disk.img", 51744},
      {"aio:/srv/images/disk.img", 51744},
  };
  for (const auto& [query, number] : table) {
    const auto found = find_device(disks, query);
    ASSERT_TRUE(found) << query << ": " << found.error().text;
    EXPECT_EQ(found->number, number) << query;
  }
}

listed_device make_disk(std::uint32_t number, const std::string& name,
                        const std::string& toolstack) {
  listed_device out;
  out.number = number;
  out.name = name;
  out.toolstack_name = toolstack;
  return out;
}

TEST(find_device, finds_a_disk_by_the_guests_name_and_the_toolstacks) {
  const std::vector<listed_device> disks = {make_disk(768, "xvda", "hda"),
                                            make_disk(2049, "xvda1", "sda1"),
                                            make_disk(2128, "xvdf", "sdf")};
  const std::vector<std::pair<std::string, unsigned>> table = {
      {"xvda", 768},           {"/dev/xvda", 768},  {"hda", 768},         {"768", 768},
      {"device/vbd/768", 768}, {"xvda1", 2049},     {"/dev/xvda1", 2049}, {"sda1", 2049},
      {"xvdf", 2128},          {"/dev/xvdf", 2128}, {"sdf", 2128}};
  for (const auto& [query, number] : table) {
    const auto found = find_device(disks, query);
    ASSERT_TRUE(found) << query << ": " << found.error().text;
    EXPECT_EQ(found->number, number) << query;
  }
}

TEST(find_device, refuses_a_name_that_guest_and_toolstack_give_to_different_disks) {
  std::vector<listed_device> disks = {make_disk(768, "hda", "hda"),
                                      make_disk(51712, "xvda", "xvda")};
  const auto found = find_device(disks, "xvda");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, errc::invalid_argument);
  EXPECT_EQ(found.error().text,
            "disk 'xvda': invalid argument (ambiguous: matches 768 (xvda in the guest, hda in the "
            "toolstack) and 51712 (xvda); use the number)");
  EXPECT_FALSE(find_device(disks, "/dev/xvda"));
  EXPECT_EQ(find_device(disks, "hda")->number, 768U);
  EXPECT_EQ(find_device(disks, "51712")->number, 51712U);
  // /dev/xvda is the disk that the kernel calls xvda.
  disks[0].name = "xvda";
  disks[0].block_device = "xvda";
  disks[1].name = "51712";
  EXPECT_FALSE(find_device(disks, "xvda"));
  EXPECT_EQ(find_device(disks, "/dev/xvda")->number, 768U);
}

TEST(find_device, refuses_an_ambiguous_name_and_lists_the_candidates) {
  const auto found = find_device(some_disks(), "/dev/vg/guest");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, errc::invalid_argument);
  EXPECT_EQ(found.error().text,
            "disk '/dev/vg/guest': invalid argument (ambiguous: matches xvdb, xvdd; specify one)");
}

TEST(find_device, lists_the_disks_when_none_matches) {
  for (const auto* const query : {"xvde", "xvdb1", "/dev/vg", "guest", "", "/dev/",
                                  "images/disk.img", "device/vbd/", "51728x"}) {
    const auto found = find_device(some_disks(), query);
    ASSERT_FALSE(found) << query;
    EXPECT_EQ(found.error().code, errc::not_available);
    EXPECT_EQ(found.error().text, "disk '" + std::string(query) +
                                      "': not available here (available: xvdb, xvdc, xvdd)");
  }
  EXPECT_EQ(find_device({}, "xvdb").error().text,
            "disk 'xvdb': not available here (this guest has no PV disk)");
}

}  // namespace
}  // namespace xenpv::blkfront
