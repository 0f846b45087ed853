// The nodes that the toolstack creates for a domain, compared with the listings in
// store_listing.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>

#include "contract/store_listing.hpp"
#include "contract/store_session.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::contract {
namespace {

using testing::IsEmpty;

constexpr const char* needs_guest = "domain 0 was not created by libxl";
constexpr const char* needs_domain_0 = "only domain 0 may read this";

class store_listing : public testing::Test {
 protected:
  [[nodiscard]] std::string home_of(std::uint32_t domain) const {
    char* path = xs_get_domain_path(store_.get(), domain);
    if (path == nullptr) throw std::runtime_error("xs_get_domain_path failed");
    std::string home(path);
    std::free(path);
    return home;
  }
  /// Returns the ID of a running guest, in domain 0.
  [[nodiscard]] std::optional<std::uint32_t> some_guest() const {
    for (const auto& name : store_.list("/local/domain"))
      if (name != "0") return static_cast<std::uint32_t>(std::stoul(name));
    return std::nullopt;
  }

  store_session store_;
};

guest_kind parse_kind(const std::string& text) {
  if (text.starts_with("pvh") || text.starts_with("PVH")) return guest_kind::pvh;
  if (text.starts_with("pv") || text.starts_with("PV")) return guest_kind::pv;
  return guest_kind::hvm;
}

/// On ARM, where guests have no emulated devices, Linux also reports "HVM".
guest_kind own_kind() {
  const auto text = system_root::from_environment().read("/sys/hypervisor/guest_type");
  if (!text) throw std::runtime_error("/sys/hypervisor/guest_type cannot be read");
  return parse_kind(*text);
}

TEST_F(store_listing, guest_finds_libxls_nodes_in_its_home) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  const auto tree = read_tree(store_, home_of(own_domid()), own_domid());
  EXPECT_THAT(differences(guest_home_listing(), tree, own_kind()), IsEmpty());
}

TEST_F(store_listing, guest_finds_libxls_nodes_in_its_vm_directory) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  const auto directory = store_.read("vm");
  ASSERT_TRUE(directory);
  const auto tree = read_tree(store_, *directory, own_domid());
  EXPECT_THAT(differences(guest_vm_listing(), tree, own_kind()), IsEmpty());
}

TEST_F(store_listing, guest_finds_matching_values) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  const auto directory = store_.read("vm").value_or("");
  EXPECT_EQ(directory, "/vm/" + store_.read(directory + "/uuid").value_or(""));
  EXPECT_EQ(store_.read("name"), store_.read(directory + "/name"));
  EXPECT_EQ(store_.read("domid"), std::to_string(own_domid()));
  EXPECT_EQ(store_.read("cpu/0/availability"), "online");
  EXPECT_EQ(store_.read("control/platform-feature-xs_reset_watches"), "1");
  EXPECT_EQ(store_.read("control/platform-feature-multiprocessor-suspend"), "1");
  const auto backend = "/local/domain/0/backend/console/" + std::to_string(own_domid()) + "/0";
  EXPECT_EQ(store_.read("console/backend"), backend);
  EXPECT_EQ(store_.read(backend + "/frontend"), home_of(own_domid()) + "/console");
}

TEST_F(store_listing, guest_cannot_read_libxls_directory) {
  if (in_dom0()) GTEST_SKIP() << needs_guest;
  const auto directory = "/libxl/" + std::to_string(own_domid());
  EXPECT_EQ(store_.try_read(directory), failed(EACCES));
  EXPECT_EQ(store_.try_read(directory + "/type"), failed(EACCES));
}

TEST_F(store_listing, domain_0_has_the_nodes_of_xen_init_dom0) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  const auto tree = read_tree(store_, home_of(0), nobody);
  EXPECT_THAT(differences(domain_0_listing(), tree, guest_kind::pv), IsEmpty());
  EXPECT_EQ(store_.read("name"), "Domain-0");
  EXPECT_EQ(store_.read("domid"), "0");
}

TEST_F(store_listing, domain_0_finds_libxls_nodes_of_a_guest) {
  if (!in_dom0()) GTEST_SKIP() << needs_domain_0;
  const auto guest = some_guest();
  if (!guest) GTEST_SKIP() << "no guest is running";
  const auto kind = parse_kind(store_.read("/libxl/" + std::to_string(*guest) + "/type").value());
  EXPECT_THAT(differences(guest_home_listing(), read_tree(store_, home_of(*guest), *guest), kind),
              IsEmpty());
  const auto directory = store_.read(home_of(*guest) + "/vm");
  ASSERT_TRUE(directory);
  EXPECT_THAT(differences(guest_vm_listing(), read_tree(store_, *directory, *guest), kind),
              IsEmpty());
}

}  // namespace
}  // namespace xenpv::contract
