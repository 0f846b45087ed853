#include "cli/version.hpp"

#include <fmt/format.h>
#include <link.h>

#include <exception>
#include <filesystem>
#include <vector>

#include "base/utf8.hpp"
#include "commit.hpp"

namespace xenpv::cli {
namespace {

#if defined(__clang__)
constexpr std::string_view compiler = "clang " __clang_version__;
#else
constexpr std::string_view compiler = "g++ " __VERSION__;
#endif

int add_name(dl_phdr_info* object, std::size_t, void* data) {
  auto& names = *static_cast<std::vector<std::string>*>(data);
  const std::string_view path = object->dlpi_name;
  // Neither the program itself nor the kernel's vDSO has a path.
  if (path.find('/') == std::string_view::npos) return 0;
  try {
    std::error_code ignored;
    const auto resolved = std::filesystem::canonical(path, ignored);
    names.push_back((ignored ? std::filesystem::path(path) : resolved).filename().string());
  } catch (const std::exception&) {
    return 1;  // an exception must not cross the C library
  }
  return 0;
}

std::string loaded_libraries() {
  std::vector<std::string> names;
  ::dl_iterate_phdr(add_name, &names);
  std::string out;
  for (const auto& name : names) {
    if (!out.empty()) out += ", ";
    out += printable(name);
  }
  return out.empty() ? "nothing (statically linked)" : out;
}

}  // namespace

std::string version_page(std::string_view program) {
  return fmt::format(
      "{} {}\n"
      "commit: {}\n"
      "built with: {}, {}\n"
      "loaded: {}\n",
      program, XENPV_VERSION, built_commit, compiler, XENPV_LIBRARIES, loaded_libraries());
}

}  // namespace xenpv::cli
