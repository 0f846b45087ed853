// Parses the options and builds the replies of option haggling. Stateless.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/codec_export.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {

/// One complete option.
struct option_message {
  wire::nbd_option option{};  ///< may have any value, even an undefined one
  std::string_view data;
};

/// The data of NBD_OPT_INFO and NBD_OPT_GO.
struct info_request {
  std::string_view name;
  bool wants_name = false;
  bool wants_description = false;
  bool wants_block_size = false;
};
/// Returns nullopt if lengths are inconsistent or the name is not a valid protocol string.
[[nodiscard]] std::optional<info_request> parse_info_request(std::string_view data) noexcept;

/// Builds a complete reply, with header and data.
[[nodiscard]] std::string option_reply(wire::nbd_option option, wire::nbd_reply type,
                                       std::string_view data = {});
/// Builds an NBD_REP_SERVER reply.
[[nodiscard]] std::string server_reply(const export_info& exported);
/// Builds the NBD_REP_INFO replies to a request, without the final acknowledgement.
[[nodiscard]] std::vector<std::string> info_replies(wire::nbd_option option,
                                                    const export_info& exported,
                                                    const info_request& request, bool structured);
/// Builds an error reply. Truncates the text to less than 1024 bytes: nbd-client cannot read more.
[[nodiscard]] std::string error_reply(wire::nbd_option option, wire::nbd_reply type,
                                      std::string_view text);
/// The text for clients that ask for an export whose `unavailable` is set.
[[nodiscard]] std::string describe_unavailable(const export_info& exported);
/// Builds the reply to NBD_OPT_EXPORT_NAME.
[[nodiscard]] std::string export_name_reply(const export_info& exported, bool structured,
                                            bool no_zeroes);

}  // namespace xenpv::nbd
