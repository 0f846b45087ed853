// Heat maps, archives, and the verdict on a measured pair of CPUs.
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "doctor/capture.hpp"
#include "probe/heat_map.hpp"
#include "probe/pair_probe.hpp"
#include "unit/channels/captured_tree.hpp"

namespace xenpv::doctor {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Writes a picture to XENPV_TEST_OUTPUT, if set, to be looked at.
void keep_picture(const std::string& name, const std::string& picture) {
  if (const char* const directory = std::getenv("XENPV_TEST_OUTPUT"))
    std::ofstream(std::string(directory) + "/" + name) << picture;
}

probe::heat_map two_by_two() {
  return {.title = "Round <trips>",
          .note = "a & b",
          .row_title = "from",
          .column_title = "to",
          .rows = {"0", "1"},
          .columns = {"0", "1"},
          .cells = {{.value = 1000, .label = "1 us", .tip = "\"quick\""},
                    {.value = 100000, .label = "100 us"},
                    {.value = 10000, .label = "10 us", .doubtful = true},
                    {.label = "failed"}}};
}

TEST(heat_map, colours_from_quick_to_slow_and_escapes_text) {
  const auto svg = probe::to_svg(two_by_two());
  EXPECT_THAT(svg, HasSubstr("Round &lt;trips&gt;"));
  EXPECT_THAT(svg, HasSubstr("a &amp; b"));
  EXPECT_THAT(svg, HasSubstr("<title>&quot;quick&quot;</title>"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#fde725\""));  // the minimum
  EXPECT_THAT(svg, HasSubstr("fill=\"#440154\""));  // the maximum
  EXPECT_THAT(svg, HasSubstr("fill=\"#21918c\""));  // halfway between them on a logarithmic scale
  EXPECT_THAT(svg, HasSubstr("fill=\"#dddddd\""));  // no value
  EXPECT_THAT(svg, HasSubstr("url(#doubt)"));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
}

TEST(heat_map, is_a_matrix_of_its_labels_as_text) {
  EXPECT_EQ(probe::to_text(two_by_two(), false),
            "      to\n"
            "from      0       1\n"
            "   0   1 us  100 us\n"
            "   1  10 us  failed\n");
}

TEST(heat_map, has_colours_on_a_terminal_that_supports_them) {
  const auto text = probe::to_text(two_by_two(), true);
  EXPECT_THAT(text, HasSubstr("\x1b[38;2;0;0;0;48;2;253;231;37m   1 us \x1b[0m"));     // minimum
  EXPECT_THAT(text, HasSubstr("\x1b[38;2;255;255;255;48;2;68;1;84m 100 us \x1b[0m"));  // maximum
  EXPECT_THAT(text, HasSubstr(" failed\n"));
}

TEST(heat_map, has_a_legend_of_its_colours) {
  const auto svg = probe::to_svg(two_by_two());
  EXPECT_THAT(svg, HasSubstr("fill=\"url(#scale)\""));
  for (const auto* text : {">1.00 us</text>", ">10.0 us</text>", ">100 us</text>"})
    EXPECT_THAT(svg, HasSubstr(text));
  EXPECT_THAT(probe::to_svg({.rows = {"0"}, .columns = {"0"}, .cells = {{.label = "failed"}}}),
              Not(HasSubstr("fill=\"url(#scale)\"")));
}

TEST(heat_map, leaves_a_baseline_out_of_the_scale) {
  auto map = two_by_two();
  map.cells[0].is_baseline = true;
  const auto svg = probe::to_svg(map);
  EXPECT_THAT(svg, Not(HasSubstr(">1.00 us</text>")));
  EXPECT_THAT(svg, HasSubstr(">31.6 us</text>"));  // halfway from 10 us to 100 us
}

TEST(heat_map, follows_the_colour_scheme) {
  EXPECT_THAT(probe::to_svg(two_by_two()), HasSubstr("@media (prefers-color-scheme:dark)"));
}

TEST(heat_map, is_as_wide_as_its_title) {
  auto map = two_by_two();
  map.title = std::string(100, 'w');
  const auto svg = probe::to_svg(map);
  const auto start = svg.find("width=\"") + 7;
  EXPECT_GE(std::stoul(svg.substr(start)), 1000U);
}

TEST(heat_map, with_many_columns_has_small_cells_without_labels) {
  probe::heat_map map{.title = "Time to interrupt a running CPU: medians",
                      .note = "Grey: the baseline, without an IPI. Hatched: not verified.",
                      .row_title = "from CPU",
                      .column_title = "to CPU"};
  for (unsigned row = 0; row < 64; ++row) {
    map.rows.push_back(std::to_string(row));
    map.columns.push_back(std::to_string(row));
    for (unsigned column = 0; column < 64; ++column)
      map.cells.push_back({.value = 4000.0 + 300 * column + (row / 32 == column / 32 ? 0 : 30000),
                           .label = "12.3 us",
                           .tip = "a tip",
                           .doubtful = row % 9 == 4,
                           .is_baseline = row == column});
  }
  const auto svg = probe::to_svg(map);
  keep_picture("map-64.svg", svg);
  EXPECT_THAT(svg, HasSubstr("<title>12.3 us (a tip)</title>"));
  EXPECT_THAT(svg, Not(HasSubstr(">12.3 us</text>")));
  EXPECT_LE(std::stoul(svg.substr(svg.find("width=\"") + 7)), 1300U);
  keep_picture("map-2.svg", probe::to_svg(two_by_two()));
}

TEST(heat_map, of_equal_values_does_not_divide_by_zero) {
  auto map = two_by_two();
  for (auto& cell : map.cells)
    cell.value = 5;
  EXPECT_THAT(probe::to_svg(map), Not(HasSubstr("nan")));
}

TEST(heat_map, refuses_a_wrong_number_of_cells) {
  auto map = two_by_two();
  map.cells.pop_back();
  EXPECT_THROW((void)probe::to_svg(map), std::invalid_argument);
}

probe::pair_result counted(std::uint64_t there, std::uint64_t back, std::uint64_t elsewhere) {
  probe::pair_result out{.from = 0, .to = 1, .round_trips = {}};
  out.expected = 1016;
  out.counted_there = there;
  out.counted_back = back;
  out.counted_elsewhere = elsewhere;
  probe::judge_pair(out);
  return out;
}

TEST(pair_probe, verifies_a_pair_whose_events_were_all_counted) {
  EXPECT_EQ(counted(1016, 1016, 0).verdict, probe::probe_verdict::verified);
}

TEST(pair_probe, refutes_a_pair_whose_events_came_elsewhere_or_not_at_all) {
  const auto lost = counted(431, 1016, 0);
  EXPECT_EQ(lost.verdict, probe::probe_verdict::refuted);
  EXPECT_EQ(lost.reason,
            "of 1016 events each way, CPU 1 counted 431, CPU 0 counted 1016, others 0");
  EXPECT_EQ(counted(1016, 1016, 1).verdict, probe::probe_verdict::refuted);
  EXPECT_EQ(counted(0, 0, 2032).verdict, probe::probe_verdict::refuted);
}

TEST(capture, has_the_files_that_list_reads_and_only_ports_from_xenstore) {
  xenpv::test::captured_tree tree("pv");
  tree.with("/xenpv/store", "device/vbd/1/event-channel = \"5\"\ndevice/vif/0/mac = \"secret\"\n");
  tree.with("/proc/cmdline", "secret\n");
  const auto files = collect_capture(tree.place());
  std::map<std::string, std::string> by_path;
  for (const auto& file : files)
    by_path.emplace(file.path, file.content);
  EXPECT_EQ(by_path.at("/proc/interrupts"), *tree.root().read("/proc/interrupts") + "\n");
  EXPECT_EQ(by_path.at("/proc/irq/14/effective_affinity_list"), "1\n");
  EXPECT_EQ(by_path.at("/xenpv/store"), "device/vbd/1/event-channel = \"5\"\n");
  for (const auto& [path, content] : by_path)
    EXPECT_THAT(content, Not(HasSubstr("secret"))) << path;
}

TEST(capture, writes_archives_in_blocks) {
  std::ostringstream out;
  write_tar(out, "top", {{"/proc/stat", "cpu\n"}, {"/" + std::string(150, 'a') + "/b", ""}});
  const auto tar = out.str();
  ASSERT_EQ(tar.size(), 512U * 5);
  EXPECT_EQ(tar.substr(0, 13), std::string("top/proc/stat"));
  EXPECT_EQ(tar.substr(124, 12), std::string("00000000004\0", 12));
  EXPECT_EQ(tar.substr(257, 8), std::string("ustar\0"
                                            "00",
                                            8));
  EXPECT_EQ(tar.substr(512, 5), std::string("cpu\n\0", 5));
  EXPECT_EQ(tar.substr(1024, 2), std::string("b\0", 2));
  EXPECT_EQ(tar.substr(1024 + 345, 5), "top/a");
  std::ostringstream ignored;
  EXPECT_THROW(write_tar(ignored, "top", {{"/" + std::string(300, 'a'), ""}}), failure);
}

}  // namespace
}  // namespace xenpv::doctor
