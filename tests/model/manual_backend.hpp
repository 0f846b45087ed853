// A passive block backend: takes requests from one ring in plain memory, and executes them and
// responds one by one, in the order that the caller chooses.
//
// Checks that no two unanswered requests use the same page, and that a request's pages do not
// change before it is executed.
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

/// Two sectors with a volatile cache.
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
    std::vector<std::byte> payload;  ///< a write's data when the request was taken
    bool carried_out = false;
  };

  /// `pages`: granted memory; page n has grant reference n.
  manual_backend(std::span<std::byte> ring, std::span<std::byte> pages, manual_disk& disk)
      : ring_(ring), pages_(pages), disk_(&disk) {}

  /// Takes all published requests.
  void take();
  [[nodiscard]] const std::vector<pending>& requests() const noexcept { return requests_; }
  /// Executes the n-th unanswered request, unless it has been executed before.
  void carry_out(std::size_t n);
  /// Responds to and removes the n-th request, even if it was not executed. `status`: BLKIF_RSP_*.
  void respond(std::size_t n, std::int16_t status);
  /// Sends a response with an unknown request ID.
  void lie();

  /// Returns the frontend's last protocol violation; nullopt: none.
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
