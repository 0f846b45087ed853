// Handles the options. Every option except NBD_OPT_EXPORT_NAME, valid or not, gets exactly one
// final reply, so that the stream stays in sync.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nbd/negotiation.hpp"

namespace xenpv::nbd {

using wire::nbd_option;
using wire::nbd_reply;

struct negotiation::obstacle {
  nbd_reply type;
  std::string_view text;
};

void negotiation::answer(const option_message& option) {
  if (option.option == nbd_option::abort) {
    // Ignore any data: the client is disconnecting.
    ack(option);
    return close("the client aborted the negotiation", false);
  }
  if (const auto* const refusal = obstacle_to(option.option)) {
    if (option.option == nbd_option::export_name)
      return close(fmt::format("NBD_OPT_EXPORT_NAME: {}", refusal->text), false);
    return refuse(option, refusal->type, refusal->text);
  }
  switch (option.option) {
    case nbd_option::export_name:
      return answer_export_name(option.data);
    case nbd_option::list:
      return answer_list(option);
    case nbd_option::starttls:
      return answer_starttls(option);
    case nbd_option::info:
    case nbd_option::go:
      return answer_info(option);
    case nbd_option::structured_reply:
      return answer_structured_reply(option);
    case nbd_option::abort:
    case nbd_option::peek_export:
    case nbd_option::list_meta_context:
    case nbd_option::set_meta_context:
    case nbd_option::extended_headers:
      break;
  }
  refuse(option, nbd_reply::err_unsup, "this server does not support that option");
}

const negotiation::obstacle* negotiation::obstacle_to(nbd_option option) const noexcept {
  static constexpr obstacle shutdown{nbd_reply::err_shutdown, "the server is shutting down"};
  static constexpr obstacle plain{nbd_reply::err_tls_reqd, "the server requires TLS"};
  if (shutting_down_) return &shutdown;
  const bool needs_tls = options_.tls == tls_mode::require && !in_tls_;
  return needs_tls && option != nbd_option::starttls ? &plain : nullptr;
}

void negotiation::answer_export_name(std::string_view name) {
  const auto* const chosen = find(name);
  if (chosen == nullptr) return close("NBD_OPT_EXPORT_NAME: no such export", false);
  replies_.push_back(export_name_reply(*chosen, agreed_.structured, no_zeroes_));
  enter_transmission(*chosen);
}

void negotiation::answer_list(const option_message& option) {
  if (!option.data.empty())
    return refuse(option, nbd_reply::err_invalid, "NBD_OPT_LIST takes no data");
  for (const auto& entry : options_.exports)
    replies_.push_back(server_reply(entry));
  ack(option);
  // The client may now query each listed export.
  if (!std::exchange(has_listed_, true)) options_left_ += most_options * options_.exports.size();
}

void negotiation::answer_info(const option_message& option) {
  const auto request = parse_info_request(option.data);
  if (!request)
    return refuse(option, nbd_reply::err_invalid, "inconsistent lengths or an invalid name");
  const auto* const chosen = find(request->name);
  if (chosen == nullptr) return refuse_name(option, request->name);
  for (auto& reply : info_replies(option.option, *chosen, *request, agreed_.structured))
    replies_.push_back(std::move(reply));
  ack(option);
  if (option.option == nbd_option::go) enter_transmission(*chosen);
}

void negotiation::answer_starttls(const option_message& option) {
  if (!option.data.empty())
    return refuse(option, nbd_reply::err_invalid, "NBD_OPT_STARTTLS takes no data");
  if (in_tls_) return refuse(option, nbd_reply::err_invalid, "TLS is already in use");
  if (options_.tls == tls_mode::off)
    return refuse(option, nbd_reply::err_policy, "TLS is not configured on this server");
  // Prevents plaintext injection (CVE-2021-3716).
  if (!input().empty()) return close("data after NBD_OPT_STARTTLS, before TLS", true);
  ack(option);
  phase_ = phase::tls;
}

void negotiation::answer_structured_reply(const option_message& option) {
  if (!options_.structured_replies)
    return refuse(option, nbd_reply::err_unsup, "structured replies are disabled");
  if (!option.data.empty())
    return refuse(option, nbd_reply::err_invalid, "NBD_OPT_STRUCTURED_REPLY takes no data");
  agreed_.structured = true;
  ack(option);
}

const export_info* negotiation::find(std::string_view name) const noexcept {
  const auto find_named = [&](std::string_view export_name) {
    const auto match = std::ranges::find(options_.exports, export_name, &export_info::name);
    return match == options_.exports.end() ? nullptr : &*match;
  };
  const auto* const exported = find_named(name);
  return exported == nullptr && name.empty() ? find_named(options_.default_export) : exported;
}

void negotiation::ack(const option_message& option) {
  replies_.push_back(option_reply(option.option, nbd_reply::ack));
}

void negotiation::refuse(const option_message& option, nbd_reply type, std::string_view text) {
  replies_.push_back(error_reply(option.option, type, text));
}

void negotiation::refuse_name(const option_message& option, std::string_view name) {
  refuse(option, nbd_reply::err_unknown, fmt::format("there is no export '{}'", name));
}

void negotiation::enter_transmission(const export_info& chosen) {
  agreed_.export_index = static_cast<std::size_t>(&chosen - options_.exports.data());
  phase_ = phase::transmission;
}

}  // namespace xenpv::nbd
