// Reads the partition table of a block device: a partition_scan that is fed from a queue.
#pragma once

#include "blk/partition_table.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::blk {

/// Reads the partition table. Call on the queue's own thread; the queue must outlive the coroutine.
/// Throws `failure` as partition_scan::finish() describes, and if a read fails. Reads a few hundred
/// KiB at most, without page leases. Cannot be cancelled.
[[nodiscard]] asio::awaitable<partition_table> read_partition_table(block_queue& queue);

}  // namespace xenpv::blk
