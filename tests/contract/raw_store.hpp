// A connection to xenstored's socket for requests that libxenstore cannot send, such as those of a
// later Xen release. The functions throw std::system_error if the connection fails.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wire/xs.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::contract {

class raw_store {
 public:
  /// Connects. Requires store_is_a_socket().
  raw_store();

  /// Sends a request outside of transactions. Returns the payload of the reply; for an error reply,
  /// this is the name of an errno value, such as "EINVAL", without the NUL. Ignores watch events.
  [[nodiscard]] std::string call(std::uint32_t type, std::string_view payload) const;

 private:
  void send(const void* bytes, std::size_t size) const;
  void receive(void* bytes, std::size_t size) const;

  unique_fd socket_;
};

}  // namespace xenpv::contract
