// A block backend that does nothing by itself: takes requests from one ring over plain memory and
// carries them out and answers them one by one, in whatever order it is told.
//
// Checks what a backend can check: that no page of a request it has not answered is named by
// another request, and that pages do not change while it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::model {

inline constexpr std::uint32_t sector_size = 512;

/// Two sectors, and a volatile cache over them.
struct manual_disk {
  using bytes = std::array<std::byte, std::size_t{2} * sector_size>;
  bytes cache{};
  bytes platter{};
  void flush() { platter = cache; }
  void lose_cache() { cache = platter; }
};

class manual_backend {
 public:
  struct pending {
    wire::blkif_request request;
    std::vector<std::byte> payload;  ///< of a write, as it was when the request was taken
    bool carried_out = false;
  };

  /// `pages`: memory of which page n is granted as reference n.
  manual_backend(std::span<std::byte> ring, std::span<std::byte> pages, manual_disk& disk)
      : ring_(ring), pages_(pages), disk_(&disk) {}

  /// Takes all requests that were published.
  void take();
  [[nodiscard]] const std::vector<pending>& requests() const noexcept { return requests_; }
  /// Of the n-th unanswered one. Again is harmless.
  void carry_out(std::size_t n);
  /// Removes it; a request that was not carried out never is. `status`: BLKIF_RSP_*.
  void answer(std::size_t n, std::int16_t status);
  /// A response for no request.
  void lie();

  /// What the frontend did wrong; nullopt: nothing.
  [[nodiscard]] const std::optional<std::string>& violation() const noexcept { return violation_; }

 private:
  [[nodiscard]] std::span<std::byte> bytes_of(const wire::blkif_segment& segment) const;
  [[nodiscard]] std::vector<std::byte> payload_of(const wire::blkif_request& request) const;
  void check_pages(const wire::blkif_request& request);

  ring::blkif_back_ring ring_;
  std::span<std::byte> pages_;
  manual_disk* disk_;
  std::vector<pending> requests_;
  std::optional<std::string> violation_;
};

}  // namespace xenpv::model
