// Handles the options. Every option except NBD_OPT_EXPORT_NAME, valid or not, gets exactly one
// final reply, so that the stream stays in sync.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.hpp"
#include "nbd/negotiation.hpp"

namespace xenpv::nbd {
namespace {

/// Longest name, in bytes, to show in the log.
constexpr std::size_t longest_shown_name = 200;

}  // namespace

using wire::nbd_option;
using wire::nbd_reply;

struct negotiation::obstacle {
  nbd_reply type;
  std::string_view text;
};

void negotiation::answer(const option_message& option) {
  if (option.option == nbd_option::abort) {
    // Ignore any data: the client is disconnecting. Unlike ack(), keeps the last refusal, which may
    // be the reason.
    replies_.push_back(option_reply(option.option, nbd_reply::ack));
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
    case nbd_option::extended_headers:
      return answer_extended_headers(option);
    case nbd_option::abort:
    case nbd_option::peek_export:
    case nbd_option::list_meta_context:
    case nbd_option::set_meta_context:
      break;
  }
  refuse(option, nbd_reply::err_unsup, "this server does not support that option");
}

const negotiation::obstacle* negotiation::obstacle_to(nbd_option option) const noexcept {
  static constexpr obstacle shutdown{nbd_reply::err_shutdown, "the server is shutting down"};
  static constexpr obstacle plain{nbd_reply::err_tls_reqd, "the server requires TLS"};
  static constexpr obstacle denied{nbd_reply::err_policy, "the server's access list denies access"};
  if (shutting_down_) return &shutdown;
  if (!in_tls_ && option == nbd_option::starttls) return nullptr;
  if (!in_tls_ && options_.tls == tls_mode::require) return &plain;
  return options_.rights == access::none ? &denied : nullptr;
}

void negotiation::answer_export_name(std::string_view name) {
  if (agreed_.extended) return close("NBD_OPT_EXPORT_NAME after NBD_OPT_EXTENDED_HEADERS", true);
  const auto* const chosen = find(name);
  if (chosen == nullptr)
    return close(fmt::format("NBD_OPT_EXPORT_NAME: {}", unknown_name(name)), false);
  if (!chosen->unavailable.empty())
    return close(fmt::format("NBD_OPT_EXPORT_NAME: {}", describe_unavailable(*chosen)), false);
  choose(nbd_option::export_name, *chosen, {});
}

void negotiation::answer_list(const option_message& option) {
  if (!option.data.empty())
    return refuse(option, nbd_reply::err_invalid, "NBD_OPT_LIST takes no data");
  for (const auto& entry : options_.exports)
    if (entry.unavailable.empty()) replies_.push_back(server_reply(entry));
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
  if (!chosen->unavailable.empty()) return refuse_unavailable(option, *chosen);
  if (option.option == nbd_option::go) return choose(option.option, *chosen, *request);
  for (auto& reply : info_replies(option.option, offer(*chosen), *request, agreed_.structured))
    replies_.push_back(std::move(reply));
  ack(option);
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
  if (agreed_.extended)
    return refuse(option, nbd_reply::err_ext_header_reqd, "extended headers are in use");
  agreed_.structured = true;
  ack(option);
}

void negotiation::answer_extended_headers(const option_message& option) {
  if (!options_.structured_replies)
    return refuse(option, nbd_reply::err_unsup, "extended headers are disabled");
  if (!option.data.empty())
    return refuse(option, nbd_reply::err_invalid, "NBD_OPT_EXTENDED_HEADERS takes no data");
  if (agreed_.extended)
    return refuse(option, nbd_reply::err_invalid, "extended headers are already in use");
  agreed_.structured = agreed_.extended = true;
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

export_info negotiation::offer(export_info exported) const {
  exported.read_only = exported.read_only || options_.rights == access::read_only;
  return exported;
}

void negotiation::ack(const option_message& option) {
  last_refusal_.clear();
  replies_.push_back(option_reply(option.option, nbd_reply::ack));
}

void negotiation::refuse(const option_message& option, nbd_reply type, std::string_view text) {
  // Clients try options that this server may lack.
  if (type != nbd_reply::err_unsup)
    last_refusal_ = fmt::format("{}: {}", to_string(option.option), printable(text, 2000));
  replies_.push_back(error_reply(option.option, type, text));
}

void negotiation::refuse_name(const option_message& option, std::string_view name) {
  refuse(option, nbd_reply::err_unknown, fmt::format("there is no export '{}'", name));
  last_refusal_ = fmt::format("{}: {}", to_string(option.option), unknown_name(name));
}

void negotiation::refuse_unavailable(const option_message& option, const export_info& chosen) {
  refuse(option, nbd_reply::err_unknown, describe_unavailable(chosen));
}

std::string negotiation::unknown_name(std::string_view name) const {
  std::string known;
  for (const auto& entry : options_.exports)
    if (entry.unavailable.empty())
      known += fmt::format("{}'{}'", known.empty() ? "" : ", ",
                           printable(entry.name, longest_shown_name));
  const auto problem = fmt::format("there is no export '{}'", printable(name, longest_shown_name));
  return known.empty() ? problem : fmt::format("{}, only {}", problem, printable(known, 1000));
}

void negotiation::choose(nbd_option option, const export_info& chosen,
                         const info_request& request) {
  agreed_.export_index = static_cast<std::size_t>(&chosen - options_.exports.data());
  agreed_export_ = offer(chosen);
  chosen_by_ = option;
  chosen_request_ = request;
  phase_ = phase::admission;
}

void negotiation::admit() {
  if (chosen_by_ == nbd_option::export_name) {
    replies_.push_back(export_name_reply(agreed_export_, agreed_.structured, no_zeroes_));
  } else {
    for (auto& reply :
         info_replies(chosen_by_, agreed_export_, chosen_request_, agreed_.structured))
      replies_.push_back(std::move(reply));
    ack({chosen_by_, {}});
  }
  phase_ = phase::transmission;
}

void negotiation::refuse(nbd_reply type, std::string_view text) {
  if (chosen_by_ == nbd_option::export_name)
    return close(fmt::format("NBD_OPT_EXPORT_NAME: {}", text), false);
  refuse({chosen_by_, {}}, type, text);
  phase_ = phase::options;
}

}  // namespace xenpv::nbd
