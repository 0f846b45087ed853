// partition_dump IMAGE SECTOR_SIZE: prints the partition table of an image as JSON, for comparison
// with other programs. Exit status 1 with a message if the table cannot be read.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <vector>

#include "blk/partition_scan.hpp"

namespace {

using namespace xenpv::blk;

partition_table read_table(const char* path, std::uint32_t sector_size) {
  std::ifstream image(path, std::ios::binary | std::ios::ate);
  if (!image) throw std::runtime_error("cannot open the image");
  const disk_extent disk{static_cast<std::uint64_t>(image.tellg()), sector_size};
  partition_scan scan(disk);
  std::vector<char> buffer;
  while (const auto range = scan.next()) {
    buffer.resize(range->length);
    image.seekg(static_cast<std::streamoff>(range->offset));
    if (!image.read(buffer.data(), static_cast<std::streamsize>(range->length)))
      throw std::runtime_error("cannot read the image");
    scan.accept(std::as_bytes(std::span(buffer)));
  }
  return scan.finish().value();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: partition_dump IMAGE SECTOR_SIZE");
  const auto sector_size = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  const auto table = read_table(argv[1], sector_size);
  auto partitions = nlohmann::json::array();
  for (const auto& one : table.partitions) {
    partitions.push_back({{"number", one.number},
                          {"start", one.offset / sector_size},
                          {"size", one.size / sector_size},
                          {"type", one.type},
                          {"name", one.name},
                          {"problem", one.problem}});
  }
  std::cout << nlohmann::json{{"label", to_string(table.kind)},
                              {"partitions", partitions},
                              {"warnings", table.warnings}}
            << '\n';
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
