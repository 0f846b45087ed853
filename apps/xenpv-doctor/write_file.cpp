#include "write_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "xenpv/base/error.hpp"

namespace xenpv::doctor_app {

void replace_file(const std::string& path, std::string_view content) {
  // Not ".prom": node_exporter's textfile collector reads every file of that name.
  const auto beside = fmt::format("{}.{}.new", path, ::getpid());
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file || std::rename(beside.c_str(), path.c_str()) != 0) {
    const int why = errno;
    std::remove(beside.c_str());
    throw_errno(why, fmt::format("write {}", path));
  }
}

}  // namespace xenpv::doctor_app
