#include "blk/partition_reader.hpp"

#include <cstddef>
#include <span>
#include <vector>

#include "blk/partition_scan.hpp"

namespace xenpv::blk {

asio::awaitable<partition_table> read_partition_table(block_queue& queue) {
  const disk_extent disk{queue.shape().size, queue.shape().sector_size};
  partition_scan scan(disk);
  std::vector<std::byte> buffer;
  while (const auto range = scan.next()) {
    buffer.resize(range->length);
    const std::span<std::byte> bytes(buffer);
    co_await queue.read(range->offset, bytes);
    scan.accept(bytes);
  }
  co_return scan.finish().value();
}

}  // namespace xenpv::blk
