// Writes the POSIX.1-1988 archive format (ustar): a 512-byte header precedes each file, and numbers
// are octal.
#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <numeric>
#include <ostream>

#include "doctor/capture.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::doctor {
namespace {

constexpr std::size_t block = 512;

struct ustar_header {
  char name[100];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char linkname[100];
  char magic[6];
  char version[2];
  char uname[32];
  char gname[32];
  char devmajor[8];
  char devminor[8];
  char prefix[155];
  char unused[12];
};
static_assert(sizeof(ustar_header) == block);
static_assert(offsetof(ustar_header, mode) == 100);
static_assert(offsetof(ustar_header, size) == 124);
static_assert(offsetof(ustar_header, mtime) == 136);
static_assert(offsetof(ustar_header, checksum) == 148);
static_assert(offsetof(ustar_header, type) == 156);
static_assert(offsetof(ustar_header, magic) == 257);
static_assert(offsetof(ustar_header, version) == 263);
static_assert(offsetof(ustar_header, uname) == 265);
static_assert(offsetof(ustar_header, prefix) == 345);

/// Fills the field with octal digits, except for its last byte.
template <std::size_t Size>
void put_number(char (&field)[Size], std::uint64_t value) {
  const auto text = fmt::format("{:0{}o}", value, Size - 1);
  std::memcpy(field, text.data(), std::min(text.size(), Size - 1));
}

void put_path(ustar_header& header, const std::string& path) {
  if (path.size() <= sizeof header.name) {
    std::memcpy(header.name, path.data(), path.size());
    return;
  }
  const auto cut = path.find('/', path.size() - sizeof header.name - 1);
  // Also true if there is no separator (npos).
  if (cut > sizeof header.prefix)
    throw failure(errc::limit_reached, fmt::format("add {} to an archive", path),
                  "the path is too long for tar");
  std::memcpy(header.prefix, path.data(), cut);
  std::memcpy(header.name, path.data() + cut + 1, path.size() - cut - 1);
}

ustar_header header_of(const std::string& path, std::size_t size, std::uint64_t time) {
  ustar_header out{};
  put_path(out, path);
  put_number(out.mode, 0644);
  put_number(out.uid, 0);
  put_number(out.gid, 0);
  put_number(out.size, size);
  put_number(out.mtime, time);
  out.type = '0';
  std::memcpy(out.magic, "ustar", 6);
  std::memcpy(out.version, "00", 2);
  // The checksum is computed with spaces in the checksum field.
  std::memset(out.checksum, ' ', sizeof out.checksum);
  const auto* bytes = reinterpret_cast<const unsigned char*>(&out);
  const auto checksum = std::accumulate(bytes, bytes + sizeof out, 0U);
  const auto text = fmt::format("{:06o}", checksum);
  std::memcpy(out.checksum, text.data(), 6);
  out.checksum[6] = '\0';
  return out;
}

}  // namespace

void write_tar(std::ostream& out, const std::string& top, const std::vector<captured_file>& files) {
  const auto now = static_cast<std::uint64_t>(std::time(nullptr));
  constexpr std::array<char, block> zeros{};
  for (const auto& file : files) {
    const auto header = header_of(top + file.path, file.content.size(), now);
    out.write(reinterpret_cast<const char*>(&header), sizeof header);
    out.write(file.content.data(), static_cast<std::streamsize>(file.content.size()));
    const auto rest = file.content.size() % block;
    if (rest != 0) out.write(zeros.data(), static_cast<std::streamsize>(block - rest));
  }
  // Two zero blocks mark the end of the archive.
  out.write(zeros.data(), block);
  out.write(zeros.data(), block);
}

}  // namespace xenpv::doctor
