#include "write_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "xenpv/base/error.hpp"

namespace xenpv::doctor_app {

void replace_file(const std::string& path, std::string_view content) {
  // The suffix must not be ".prom": node_exporter's textfile collector reads every file with that
  // suffix.
  const auto temporary = fmt::format("{}.{}.new", path, ::getpid());
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(temporary.c_str());
    throw_errno(error, fmt::format("write {}", path));
  }
}

}  // namespace xenpv::doctor_app
