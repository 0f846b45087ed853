// What is inside the options of option haggling: parsed, and replies built. No state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nbd/codec_export.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {

/// One option, whole.
struct option_message {
  wire::nbd_option option{};  ///< any number a client may send
  std::string_view data;
};

/// NBD_OPT_INFO and NBD_OPT_GO.
struct info_request {
  std::string_view name;
  bool wants_name = false;
  bool wants_description = false;
  bool wants_block_size = false;
};
/// nullopt: lengths that do not add up, or a name that is no string of the protocol.
[[nodiscard]] std::optional<info_request> parse_info_request(std::string_view data) noexcept;

/// NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
struct meta_context_request {
  std::string_view name;
  std::vector<std::string_view> queries;
};
[[nodiscard]] std::optional<meta_context_request> parse_meta_context_request(std::string_view data);

struct selected_context {
  std::uint32_t id = 0;
  std::string name;
  friend bool operator==(const selected_context&, const selected_context&) = default;
};
/// Those of `offered` that a list of queries names, in order, each once. To list, "base:" means all
/// of that namespace and no query at all means all there are; to set, neither means any.
[[nodiscard]] std::vector<selected_context> match_contexts(std::span<const std::string> offered,
                                                           const meta_context_request& request,
                                                           bool to_set);

/// A reply in one piece, header and data.
[[nodiscard]] std::string option_reply(wire::nbd_option to, wire::nbd_reply type,
                                       std::string_view data = {});
/// NBD_REP_SERVER
[[nodiscard]] std::string server_reply(const export_info& of);
/// The NBD_REP_INFO replies for a request, without the final acknowledgement.
[[nodiscard]] std::vector<std::string> info_replies(wire::nbd_option to, const export_info& of,
                                                    const info_request& request, bool structured);
/// NBD_REP_META_CONTEXT
[[nodiscard]] std::string meta_context_reply(wire::nbd_option to, const selected_context& context);
/// An error reply. The text is cut below 1024 bytes, which is what nbd-client can read.
[[nodiscard]] std::string error_reply(wire::nbd_option to, wire::nbd_reply type,
                                      std::string_view text);
/// Answer to NBD_OPT_EXPORT_NAME.
[[nodiscard]] std::string export_name_reply(const export_info& of, bool structured, bool no_zeroes);

}  // namespace xenpv::nbd
