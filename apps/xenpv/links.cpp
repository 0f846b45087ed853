#include "links.hpp"

#include <fmt/format.h>

#include <system_error>

#include "xenpv/base/error.hpp"

namespace xenpv::multi_call {

void install_links(const std::filesystem::path& directory, const std::filesystem::path& program,
                   std::span<const std::string_view> names) {
  namespace fs = std::filesystem;
  std::error_code code;
  const auto resolved = fs::canonical(directory, code);
  if (!code && !fs::is_directory(resolved)) code = make_error_code(std::errc::not_a_directory);
  if (code)
    throw failure(code, fmt::format("install links in {}", directory.string()),
                  "create the directory first");
  const auto target = resolved == program.parent_path() ? program.filename() : program;
  for (const auto name : names) {
    const auto link = directory / name;
    const auto operation = fmt::format("create the link {}", link.string());
    fs::create_symlink(target, link, code);
    if (!code) continue;
    if (code != std::errc::file_exists) throw failure(code, operation);
    std::error_code no_link;
    if (fs::read_symlink(link, no_link) != target || no_link)
      throw failure(code, operation,
                    fmt::format("it is no link to {}; remove it", target.string()));
  }
}

}  // namespace xenpv::multi_call
