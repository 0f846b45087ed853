#include "links.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <string>

#include "xenpv/base/error.hpp"

namespace xenpv::multi_call {
namespace {

namespace fs = std::filesystem;

class multi_call_links : public testing::Test {
 protected:
  multi_call_links() {
    std::string pattern = testing::TempDir() + "links-XXXXXX";
    directory = fs::canonical(::mkdtemp(pattern.data()));
  }
  ~multi_call_links() override { fs::remove_all(directory); }

  fs::path directory;
  static constexpr std::array<std::string_view, 2> names = {"xenpv-disk", "xenpv-timer"};
};

TEST_F(multi_call_links, are_relative_beside_the_program) {
  install_links(directory, directory / "xenpv", names);
  EXPECT_EQ(fs::read_symlink(directory / "xenpv-disk"), "xenpv");
  EXPECT_EQ(fs::read_symlink(directory / "xenpv-timer"), "xenpv");
}

TEST_F(multi_call_links, are_absolute_elsewhere) {
  install_links(directory, "/opt/xenpv", names);
  EXPECT_EQ(fs::read_symlink(directory / "xenpv-disk"), "/opt/xenpv");
}

TEST_F(multi_call_links, are_kept_if_they_exist) {
  install_links(directory, directory / "xenpv", names);
  fs::remove(directory / "xenpv-timer");
  install_links(directory, directory / "xenpv", names);
  EXPECT_EQ(fs::read_symlink(directory / "xenpv-timer"), "xenpv");
}

TEST_F(multi_call_links, never_replace_a_file) {
  std::ofstream(directory / "xenpv-disk") << "data";
  try {
    install_links(directory, "/opt/xenpv", names);
    FAIL() << "replaced the file";
  } catch (const failure& e) {
    EXPECT_EQ(e.what(), "create the link " + (directory / "xenpv-disk").string() +
                            ": file exists (it is no link to /opt/xenpv; remove it)");
  }
  std::string text;
  std::ifstream(directory / "xenpv-disk") >> text;
  EXPECT_EQ(text, "data");
}

TEST_F(multi_call_links, never_replace_a_link_to_another_program) {
  fs::create_symlink("/opt/other", directory / "xenpv-disk");
  EXPECT_THROW(install_links(directory, "/opt/xenpv", names), failure);
  EXPECT_EQ(fs::read_symlink(directory / "xenpv-disk"), "/opt/other");
}

TEST_F(multi_call_links, need_the_directory) {
  try {
    install_links(directory / "bin", "/opt/xenpv", names);
    FAIL() << "no error";
  } catch (const failure& e) {
    EXPECT_EQ(e.what(), "install links in " + (directory / "bin").string() +
                            ": no such file or directory (create the directory first)");
  }
}

TEST_F(multi_call_links, do_not_take_a_file_for_the_directory) {
  std::ofstream(directory / "file") << "data";
  try {
    install_links(directory / "file", "/opt/xenpv", names);
    FAIL() << "no error";
  } catch (const failure& e) {
    EXPECT_EQ(e.what(), "install links in " + (directory / "file").string() +
                            ": not a directory (create the directory first)");
  }
}

}  // namespace
}  // namespace xenpv::multi_call
