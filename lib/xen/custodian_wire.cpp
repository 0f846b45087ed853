#include "xen/custodian_wire.hpp"

#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

namespace xenpv::xen {
namespace {

class writer {
 public:
  template <class T>
  requires std::is_integral_v<T>
  void number(T value) {
    const auto size = bytes_.size();
    bytes_.resize(size + sizeof(value));
    std::memcpy(bytes_.data() + size, &value, sizeof(value));
  }
  void text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads values. After a value that is longer than the remaining bytes, good() is false and all
/// further values are zero or empty.
class reader {
 public:
  explicit reader(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  requires std::is_integral_v<T> T number() {
    T value{};
    if (!good_ || rest_.size() < sizeof(value)) {
      good_ = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return value;
  }
  std::string text() {
    const auto size = number<std::uint32_t>();
    if (!good_ || rest_.size() < size) {
      good_ = false;
      return {};
    }
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] bool at_end() const noexcept { return good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

// Each encoded request or step starts with a byte that holds the index of its alternative in the
// variant.
template <class Alternative, class Variant, std::size_t Index = 0>
consteval std::uint8_t kind_of() {
  if constexpr (std::is_same_v<Alternative, std::variant_alternative_t<Index, Variant>>)
    return static_cast<std::uint8_t>(Index);
  else
    return kind_of<Alternative, Variant, Index + 1>();
}
template <class Request>
constexpr std::uint8_t request_kind = kind_of<Request, custodian_request>();
template <class Step>
constexpr std::uint8_t step_kind = kind_of<Step, cleanup_step>();

struct step_encoder {
  writer& out;
  void operator()(const cleanup_write& step) const {
    out.text(step.path);
    out.text(step.value);
  }
  void operator()(const cleanup_remove& step) const { out.text(step.path); }
  void operator()(const cleanup_wait& step) const {
    out.text(step.path);
    out.number(static_cast<std::uint32_t>(step.values.size()));
    for (const auto& value : step.values)
      out.text(value);
    out.number(static_cast<std::int64_t>(step.at_most.count()));
  }
};

std::optional<cleanup_step> decode_step(reader& in) {
  switch (in.number<std::uint8_t>()) {
    case step_kind<cleanup_write>: {
      auto path = in.text();
      return cleanup_write{std::move(path), in.text()};
    }
    case step_kind<cleanup_remove>:
      return cleanup_remove{in.text()};
    case step_kind<cleanup_wait>: {
      cleanup_wait step;
      step.path = in.text();
      for (auto left = in.number<std::uint32_t>(); left > 0 && in.good(); --left)
        step.values.push_back(in.text());
      step.at_most = std::chrono::milliseconds(in.number<std::int64_t>());
      return step;
    }
    default:
      return std::nullopt;
  }
}

std::optional<custodian_request> decode_set_cleanup(reader& in) {
  set_cleanup_request request{.name = in.text()};
  for (auto left = in.number<std::uint32_t>(); left > 0 && in.good(); --left) {
    auto step = decode_step(in);
    if (!step) return std::nullopt;
    request.steps.push_back(*std::move(step));
  }
  return request;
}

std::optional<custodian_request> decode_body(reader& in) {
  switch (in.number<std::uint8_t>()) {
    case request_kind<keep_request>:
      return keep_request{in.number<std::uint64_t>()};
    case request_kind<hold_request>:
      return hold_request{};
    case request_kind<release_request>:
      return release_request{in.number<std::uint64_t>()};
    case request_kind<resumed_request>:
      return resumed_request{};
    case request_kind<set_cleanup_request>:
      return decode_set_cleanup(in);
    case request_kind<clear_cleanup_request>:
      return clear_cleanup_request{in.text()};
    case request_kind<clean_up_request>:
      return clean_up_request{};
    case request_kind<stop_request>:
      return stop_request{};
    default:
      return std::nullopt;
  }
}

struct request_encoder {
  writer& out;
  void operator()(const keep_request& request) const { out.number(request.id); }
  void operator()(const hold_request&) const {}
  void operator()(const release_request& request) const { out.number(request.id); }
  void operator()(const resumed_request&) const {}
  void operator()(const set_cleanup_request& request) const {
    out.text(request.name);
    out.number(static_cast<std::uint32_t>(request.steps.size()));
    for (const auto& step : request.steps) {
      out.number(static_cast<std::uint8_t>(step.index()));
      std::visit(step_encoder{out}, step);
    }
  }
  void operator()(const clear_cleanup_request& request) const { out.text(request.name); }
  void operator()(const clean_up_request&) const {}
  void operator()(const stop_request&) const {}
};

}  // namespace

std::string encode(const custodian_request& request) {
  writer out;
  out.number(static_cast<std::uint8_t>(request.index()));
  std::visit(request_encoder{out}, request);
  return out.take();
}

std::string encode(const custodian_reply& reply) {
  writer out;
  out.number(reply.value);
  out.number(reply.refusal);
  out.text(reply.reason);
  return out.take();
}

result<custodian_request> decode_request(std::string_view bytes) {
  reader in(bytes);
  auto request = decode_body(in);
  if (!request || !in.at_end())
    return make_error(errc::protocol_violation, "decode a request to the custodian");
  return *std::move(request);
}

result<custodian_reply> decode_reply(std::string_view bytes) {
  reader in(bytes);
  custodian_reply reply;
  reply.value = in.number<std::uint64_t>();
  reply.refusal = in.number<int>();
  reply.reason = in.text();
  if (!in.at_end()) return make_error(errc::protocol_violation, "decode the custodian's reply");
  return reply;
}

}  // namespace xenpv::xen
