// The output of `xenpv-sim status`. Scripts depend on its keys: add keys, but do not rename them.
#include <nlohmann/json.hpp>

#include "sim/admin_service.hpp"
#include "sim/host.hpp"

namespace xenpv::sim {

std::string host::status() const {
  nlohmann::ordered_json out;
  out["schema"] = "xenpv-sim.status";
  out["schema_version"] = 1;
  out["directory"] = options_.directory.string();
  out["domains"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < max_domains; ++i) {
    if (!domains_[i]) continue;
    const auto slot = static_cast<std::uint8_t>(i);
    const domid number{static_cast<std::uint16_t>(state_->domains[slot].domain.load())};
    auto processes = nlohmann::ordered_json::array();
    for (const auto& process : domains_[i]->processes)
      processes.push_back(process->process());
    out["domains"].push_back({{"domid", raw(number)},
                              {"name", domains_[i]->name},
                              {"directory", domains_[i]->directory.string()},
                              {"event_channels", events_.port_count(slot)},
                              {"user_event_channels", events_.user_port_count(slot)},
                              {"shared_pages", grants_.shared_page_count(slot)},
                              {"mapped_pages", grants_.mapped_page_count(slot)},
                              {"watches", store_.watch_count(number)},
                              {"processes", processes}});
  }
  out["backends"] = nlohmann::ordered_json::array();
  for (const auto& backend : external_backends_.status())
    out["backends"].push_back({{"domid", raw(backend.domain)},
                               {"backend", backend.backend},
                               {"disks", backend.disks},
                               {"process", backend.process.value_or(0)},
                               {"restarts", backend.restarts},
                               {"log", backend.log.string()}});
  out["store_connections"] = store_.connection_count();
  out["open_handles"] = events_.open_handles().size();
  out["faults"] = {{"events_lost", state_->lose.hit.load()},
                   {"events_doubled", state_->duplicate.hit.load()},
                   {"events_delayed", state_->delay.hit.load()}};
  out["kernel_bugs"] = nlohmann::ordered_json::array();
  for (const auto& bug : events_.bugs())
    out["kernel_bugs"].push_back({{"domid", raw(bug.domain)},
                                  {"process", bug.process},
                                  {"port", bug.port},
                                  {"what", bug.what}});
  return out.dump(2);
}

}  // namespace xenpv::sim
