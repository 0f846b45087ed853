#include "sim/disk_spec.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::sim {
namespace {

struct device_case {
  const char* name;
  std::uint32_t number;
};

void PrintTo(const device_case& item, std::ostream* out) {
  *out << item.name;
}

class virtual_device : public ::testing::TestWithParam<device_case> {};

TEST_P(virtual_device, follows_xen_vbd_interface) {
  const auto number = wire::parse_virtual_device(GetParam().name);
  ASSERT_TRUE(number) << number.error().text;
  EXPECT_EQ(*number, GetParam().number);
}

// Extended numbers are 1<<28 (268435456) | disk<<8 | partition.
INSTANTIATE_TEST_SUITE_P(
    names, virtual_device,
    ::testing::Values(
        device_case{"xvda", 51712}, device_case{"xvdb", 51728}, device_case{"xvdb1", 51729},
        device_case{"xvdb15", 51743}, device_case{"xvdb16", 268435456 + 256 + 16},
        device_case{"xvdb255", 268435456 + 256 + 255}, device_case{"xvdp", 51952},
        device_case{"xvdp15", 51967}, device_case{"xvdq", 268435456 + 16 * 256},
        device_case{"xvdq3", 268435456 + 16 * 256 + 3}, device_case{"xvdz", 268435456 + 25 * 256},
        device_case{"xvdaa", 268435456 + 26 * 256}, device_case{"xvdba", 268435456 + 52 * 256},
        device_case{"xvdaaa", 268435456 + 702 * 256},
        device_case{"xvdbgqcv", 268435456 + 1048575 * 256}, device_case{"hda", 768},
        device_case{"hda1", 769}, device_case{"hda63", 831}, device_case{"hdb", 832},
        device_case{"hdc", 5632}, device_case{"hdd2", 5698}, device_case{"sda", 2048},
        device_case{"sdb", 2064}, device_case{"sdp15", 2303}, device_case{"51728", 51728},
        device_case{"0", 0}, device_case{"268439552", 268439552},
        device_case{"4294967295", 4294967295U}));

class no_virtual_device : public ::testing::TestWithParam<std::string> {};

TEST_P(no_virtual_device, is_rejected) {
  const auto number = wire::parse_virtual_device(GetParam());
  ASSERT_FALSE(number);
  EXPECT_EQ(number.error().text,
            "disk '" + GetParam() +
                "': invalid argument (expected a disk name such as xvda, hda or sda, or its "
                "number)");
  EXPECT_EQ(number.error().code, make_error_code(errc::invalid_argument));
}

INSTANTIATE_TEST_SUITE_P(names, no_virtual_device,
                         ::testing::Values("", "xvd", "xvd1", "xvdA", "xvda0", "xvda01", "xvda256",
                                           "xvda1b", "xvd-a", " xvda", "xvda ", "vda", "hd", "hde",
                                           "hda64", "sdq", "sda16", "4294967296", "-1", "0x10",
                                           "xvdzzzzzzzzzz", "xvdbgqcw"));

TEST(parse_disk_spec, fills_in_the_defaults_of_linux) {
  const auto disk = parse_disk_spec("xvdb,memory=256M");
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->name, "xvdb");
  EXPECT_EQ(disk->device, 51728U);
  EXPECT_EQ(disk->store, disk_store::memory);
  EXPECT_EQ(disk->size, 268435456U);
  EXPECT_EQ(disk->path, "");
  EXPECT_FALSE(disk->read_only);
  EXPECT_FALSE(disk->cdrom);
  EXPECT_EQ(disk->sector_size, 512U);
  EXPECT_EQ(disk->backend, backend_kind::linux_blkback);
  EXPECT_EQ(disk->queues, std::nullopt);
  EXPECT_EQ(disk->ring_order, std::nullopt);
  EXPECT_EQ(disk->indirect, std::nullopt);
  EXPECT_TRUE(disk->persistent);
  EXPECT_TRUE(disk->flush);
  EXPECT_TRUE(disk->barrier);
  EXPECT_TRUE(disk->discard);
}

TEST(parse_disk_spec, parses_every_option) {
  const auto disk = parse_disk_spec(
      "51712,ro,cdrom,sector=4096,backend=qemu,queues=4,order=3,indirect=256,null=1T,no-persistent,"
      "no-flush,no-barrier,no-discard,fault=error=3,fault=delay=5ms:1/2");
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->name, "51712");
  EXPECT_EQ(disk->device, 51712U);
  EXPECT_EQ(disk->store, disk_store::null);
  EXPECT_EQ(disk->size, 1099511627776U);
  EXPECT_TRUE(disk->read_only);
  EXPECT_TRUE(disk->cdrom);
  EXPECT_EQ(disk->sector_size, 4096U);
  EXPECT_EQ(disk->backend, backend_kind::qemu);
  EXPECT_EQ(disk->queues, 4U);
  EXPECT_EQ(disk->ring_order, 3U);
  EXPECT_EQ(disk->indirect, 256U);
  EXPECT_FALSE(disk->persistent);
  EXPECT_FALSE(disk->flush);
  EXPECT_FALSE(disk->barrier);
  EXPECT_FALSE(disk->discard);
  EXPECT_EQ(disk->faults, (std::vector<std::string>{"error=3", "delay=5ms:1/2"}));
}

struct flag_case {
  const char* keyword;
  bool disk_spec::*member;
  bool value;
};

void PrintTo(const flag_case& item, std::ostream* out) {
  *out << item.keyword;
}

class disk_flag : public ::testing::TestWithParam<flag_case> {};

TEST_P(disk_flag, changes_only_its_own_member) {
  const auto plain = parse_disk_spec("xvda,memory=1M");
  const auto flagged = parse_disk_spec("xvda,memory=1M," + std::string(GetParam().keyword));
  ASSERT_TRUE(plain);
  ASSERT_TRUE(flagged) << flagged.error().text;
  for (const auto member :
       {&disk_spec::read_only, &disk_spec::cdrom, &disk_spec::persistent, &disk_spec::flush,
        &disk_spec::barrier, &disk_spec::discard, &disk_spec::volatile_cache, &disk_spec::vdi}) {
    const bool expected = member == GetParam().member ? GetParam().value : *plain.*member;
    EXPECT_EQ(*flagged.*member, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(flags, disk_flag,
                         ::testing::Values(flag_case{"ro", &disk_spec::read_only, true},
                                           flag_case{"cdrom", &disk_spec::cdrom, true},
                                           flag_case{"no-persistent", &disk_spec::persistent,
                                                     false},
                                           flag_case{"no-flush", &disk_spec::flush, false},
                                           flag_case{"no-barrier", &disk_spec::barrier, false},
                                           flag_case{"no-discard", &disk_spec::discard, false},
                                           flag_case{"volatile", &disk_spec::volatile_cache, true},
                                           flag_case{"vdi", &disk_spec::vdi, true}));

TEST(parse_disk_spec, accepts_the_bounds_of_every_range) {
  const auto low = parse_disk_spec("xvda,memory=512,queues=1,order=0,indirect=0");
  ASSERT_TRUE(low) << low.error().text;
  EXPECT_EQ(low->queues, 1U);
  EXPECT_EQ(low->ring_order, 0U);
  EXPECT_EQ(low->indirect, 0U);
  const auto high = parse_disk_spec("xvda,memory=512,queues=64,order=4,indirect=4096");
  ASSERT_TRUE(high) << high.error().text;
  EXPECT_EQ(high->queues, 64U);
  EXPECT_EQ(high->ring_order, 4U);
  EXPECT_EQ(high->indirect, 4096U);
}

TEST(parse_disk_spec, leaves_the_size_of_a_file_unset) {
  const auto disk = parse_disk_spec("xvda,file=/var/lib/a=b.img,sector=4096");
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->store, disk_store::file);
  EXPECT_EQ(disk->path, "/var/lib/a=b.img");
  EXPECT_EQ(disk->size, 0U);
}

TEST(parse_disk_spec, parses_each_backend) {
  for (const auto& [backend, keyword] : wire::backend_kinds) {
    const auto disk = parse_disk_spec("xvda,memory=1M,backend=" + std::string(keyword));
    ASSERT_TRUE(disk) << disk.error().text;
    EXPECT_EQ(disk->backend, backend);
    EXPECT_EQ(disk->server, disk_server::simulator);
  }
}

TEST(parse_disk_spec, parses_the_backend_of_qemu) {
  const auto disk =
      parse_disk_spec("xvdb,ro,cdrom,no-discard,vdi,backend=qemu-real,file=/srv/a:b=c");
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->server, disk_server::qemu);
  EXPECT_EQ(disk->path, "/srv/a:b=c");
  EXPECT_TRUE(disk->read_only);
  EXPECT_TRUE(disk->cdrom);
  EXPECT_TRUE(disk->vdi);
  EXPECT_FALSE(disk->discard);
  EXPECT_EQ(backend_type(*disk), "qdisk");
}

TEST(parse_disk_spec, parses_the_backend_of_a_command) {
  const auto disk = parse_disk_spec("xvdb,backend=exec:./serve --name=a b,type=vbd3,file=/srv/a");
  ASSERT_TRUE(disk) << disk.error().text;
  EXPECT_EQ(disk->server, disk_server::command);
  EXPECT_EQ(disk->command, "./serve --name=a b");
  EXPECT_EQ(disk->path, "/srv/a");
  EXPECT_EQ(backend_type(*disk), "vbd3");
  const auto short_form = parse_disk_spec("xvdb,backend=exec:true");
  ASSERT_TRUE(short_form) << short_form.error().text;
  EXPECT_EQ(short_form->path, "");
  EXPECT_EQ(backend_type(*short_form), "vbd");
}

TEST(backend_type, of_the_simulators_own_backend_depends_on_the_personality) {
  EXPECT_EQ(backend_type(parse_disk_spec("xvdb,memory=1M,backend=qemu").value()), "qdisk");
  EXPECT_EQ(backend_type(parse_disk_spec("xvdb,memory=1M,backend=tapdisk").value()), "vbd");
}

/// Returns the error of check_disks() for these disks, or an empty text.
std::string problem_of_disks(std::initializer_list<std::string_view> specs) {
  std::vector<disk_spec> disks;
  for (const auto spec : specs)
    disks.push_back(parse_disk_spec(spec).value());
  const auto checked = check_disks(disks);
  return checked ? "" : checked.error().text;
}

TEST(check_disks, lets_only_qemu_have_disks_in_its_directory) {
  constexpr auto of_qemu = "xvdb,file=/a,backend=qemu-real";
  EXPECT_EQ(problem_of_disks({}), "");
  EXPECT_EQ(problem_of_disks({"xvdb,memory=1M,backend=qemu", "xvdc,memory=1M"}), "");
  EXPECT_EQ(problem_of_disks({of_qemu, "xvdc,memory=1M", "xvdd,file=/b,backend=qemu-real"}), "");
  EXPECT_EQ(problem_of_disks({"xvdc,memory=1M,backend=qemu", of_qemu}),
            "disk xvdc: invalid argument (backend=qemu-real serves every disk of the type qdisk; "
            "choose another backend for this disk)");
  EXPECT_NE(problem_of_disks({of_qemu, "xvdc,type=qdisk,backend=exec:true"}), "");
}

TEST(check_disks, lets_qemu_serve_only_cdroms_read_only) {
  EXPECT_EQ(problem_of_disks({"xvdb,file=/a,cdrom,ro,backend=qemu-real"}), "");
  EXPECT_EQ(problem_of_disks({"xvdb,file=/a,ro,backend=qemu-real"}),
            "disk xvdb: invalid argument (QEMU serves a read-only disk only as a CD-ROM; add "
            "'cdrom')");
}

struct error_case {
  std::string text;
  std::string message;
};

void PrintTo(const error_case& item, std::ostream* out) {
  *out << "'" << item.text << "'";
}

class bad_disk_spec : public ::testing::TestWithParam<error_case> {};

TEST_P(bad_disk_spec, is_rejected_with_the_invalid_part) {
  const auto disk = parse_disk_spec(GetParam().text);
  ASSERT_FALSE(disk) << GetParam().text;
  EXPECT_EQ(disk.error().text, GetParam().message);
  EXPECT_EQ(disk.error().code, make_error_code(errc::invalid_argument));
}

const std::string no_name =
    "': invalid argument (expected a disk name such as xvda, hda or sda, or its number)";
const std::string no_store = "': invalid argument (expected memory=SIZE, file=PATH or null=SIZE)";
const std::string no_option =
    "': invalid argument (expected ro, cdrom, sector=, backend=, type=, queues=, order=, "
    "indirect=, "
    "no-persistent, no-flush, no-barrier, no-discard, volatile, vdi or fault=)";
const std::string no_size =
    "': invalid argument (expected bytes with an optional K, M, G or T, such as 256M)";

INSTANTIATE_TEST_SUITE_P(
    texts, bad_disk_spec,
    ::testing::Values(
        error_case{"", "disk '" + no_name}, error_case{"foo,memory=1M", "disk 'foo" + no_name},
        error_case{"xvdb", "disk 'xvdb" + no_store},
        error_case{"xvdb,ro", "disk 'xvdb,ro" + no_store},
        error_case{"xvdb,memory=1M,", "option '" + no_option},
        error_case{"xvdb,memory=1M,rw", "option 'rw" + no_option},
        error_case{"xvdb,memory=1M,colour=red", "option 'colour=red" + no_option},
        error_case{"xvdb,memory=1M,RO", "option 'RO" + no_option},
        error_case{"xvdb,memory=1M,=", "option '=" + no_option},
        error_case{"xvdb,memory=1M,ro=1", "option 'ro=1': invalid argument (ro takes no value)"},
        error_case{"xvdb,memory", "option 'memory': invalid argument (expected memory=...)"},
        error_case{"xvdb,memory=1M,queues",
                   "option 'queues': invalid argument (expected queues=...)"},
        error_case{"xvdb,memory=1M,ro,ro",
                   "option 'ro': invalid argument (ro may be given only once)"},
        error_case{"xvdb,memory=1M,memory=2M",
                   "option 'memory=2M': invalid argument (memory may be given only once)"},
        error_case{"xvdb,memory=1M,sector=512,sector=512",
                   "option 'sector=512': invalid argument (sector may be given only once)"},
        error_case{"xvdb,memory=1M,file=/a",
                   "option 'file=/a': invalid argument (a disk accepts only one of memory=, "
                   "file= and null=)"},
        error_case{"xvdb,memory=lots", "memory 'lots" + no_size},
        error_case{"xvdb,null=", "null '" + no_size},
        error_case{"xvdb,memory=0",
                   "size of 0 bytes: invalid argument (expected a positive multiple of 512 bytes)"},
        error_case{"xvdb,memory=1000",
                   "size of 1000 bytes: invalid argument (expected a positive multiple of 512 "
                   "bytes)"},
        error_case{"xvdb,null=6K,sector=4096",
                   "size of 6144 bytes: invalid argument (expected a positive multiple of 4096 "
                   "bytes)"},
        error_case{"xvdb,null=1M,volatile",
                   "option 'volatile': invalid argument (only a memory= disk can be volatile)"},
        error_case{"xvdb,memory=1M,fault=",
                   "fault '': invalid argument (expected one word, such as fault=error=10)"},
        error_case{"xvdb,memory=1M,fault=a b",
                   "fault 'a b': invalid argument (expected one word, such as fault=error=10)"},
        error_case{"xvdb,file=", "file '': invalid argument (expected a path)"},
        error_case{"xvdb,memory=1M,sector=1024",
                   "sector '1024': invalid argument (expected 512 or 4096)"},
        error_case{"xvdb,memory=1M,backend=xen",
                   "backend 'xen': invalid argument (expected " +
                       wire::join_names(wire::backend_kinds, ", ", ", ") +
                       ", qemu-real or exec:COMMAND)"},
        error_case{"xvdb,backend=exec:",
                   "backend 'exec:': invalid argument (expected a command after exec:)"},
        error_case{"xvdb,backend=qemu-real",
                   "disk 'xvdb,backend=qemu-real': invalid argument (expected file=PATH)"},
        error_case{"xvdb,backend=qemu-real,memory=1M",
                   "option 'memory': invalid argument (backend=qemu-real does not support it)"},
        error_case{"xvdb,file=/a,fault=stall,backend=exec:true",
                   "option 'fault': invalid argument (backend=exec does not support it)"},
        error_case{"xvdb,file=/a,backend=qemu-real,sector=4096",
                   "option 'sector': invalid argument (backend=qemu-real does not support it)"},
        error_case{"xvdb,memory=1M,type=vbd3",
                   "option 'type': invalid argument (only backend=exec:COMMAND supports it)"},
        error_case{"xvdb,file=/a,backend=qemu-real,type=vbd",
                   "option 'type': invalid argument (only backend=exec:COMMAND supports it)"},
        error_case{"xvdb,backend=exec:true,type=../x",
                   "type '../x': invalid argument (expected lower-case letters, digits, '-' or "
                   "'_', such as vbd3)"},
        error_case{"xvdb,memory=1M,queues=0",
                   "queues '0': invalid argument (expected a whole number from 1 to 64)"},
        error_case{"xvdb,memory=1M,queues=65",
                   "queues '65': invalid argument (expected a whole number from 1 to 64)"},
        error_case{"xvdb,memory=1M,order=5",
                   "order '5': invalid argument (expected a whole number from 0 to 4)"},
        error_case{"xvdb,memory=1M,indirect=4097",
                   "indirect '4097': invalid argument (expected a whole number from 0 to 4096)"},
        error_case{"xvdb,memory=1M,indirect=-1",
                   "indirect '-1': invalid argument (expected a whole number from 0 to 4096)"}));

}  // namespace
}  // namespace xenpv::sim
