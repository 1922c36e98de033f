// positions --list
#include <fmt/format.h>

#include "ropescope/core/json.h"

#include "inputs/position_input.h"

namespace ropescope::app::positions {

namespace {

std::string allocation_of(const SchemeDefinition& definition) {
  return definition.allocation == nullptr ? "" : definition.allocation(Parameters(definition.name, {}));
}

Json scheme_json(const SchemeDefinition& definition) {
  Json parameters = Json::array();
  for (const ParameterInfo& info : definition.parameters) {
    parameters.push_back({{"name", info.name}, {"default", info.fallback}, {"meaning", info.meaning}});
  }
  return {{"name", definition.name},         {"summary", definition.summary},
          {"source", definition.source},     {"allocation", allocation_of(definition)},
          {"modifies", definition.modifies}, {"parameters", parameters}};
}

void print_scheme(const SchemeDefinition& definition) {
  fmt::print("{}\n    {}\n    source: {}\n", definition.name, definition.summary, definition.source);
  if (definition.is_modifier()) {
    fmt::print("    changes another scheme ({}+...); {} unless one is named\n", definition.name,
               definition.modifies);
  } else {
    fmt::print("    frequency allocation: {}\n", allocation_of(definition));
  }
  for (const ParameterInfo& info : definition.parameters) {
    fmt::print("    {:<22}{:<12}{}\n", info.name + "=", info.fallback.empty() ? "-" : info.fallback,
               info.meaning);
  }
}

}  // namespace

void list_schemes(bool json) {
  if (json) {
    Json schemes = Json::array(), allocations = Json::array();
    for (const SchemeDefinition& definition : scheme_definitions())
      schemes.push_back(scheme_json(definition));
    for (const FrequencyAllocation& allocation : frequency_allocations()) {
      allocations.push_back({{"name", allocation.name}, {"rule", allocation.rule}});
    }
    fmt::print("{}\n", Json({{"schemes", schemes}, {"allocations", allocations}}).dump());
    return;
  }
  fmt::print(
      "scheme = name[/allocation][:key=value[,key=value...]], joined by '+'; lists in a value use '/'\n"
      "e.g. mrope:sections=16/24/24   mrope/interleaved   id-align+v2pe:delta=0.5   dipe+mrope\n\n");
  for (const SchemeDefinition& definition : scheme_definitions()) {
    print_scheme(definition);
    fmt::print("\n");
  }
  fmt::print("frequency allocations\n");
  for (const FrequencyAllocation& allocation : frequency_allocations()) {
    fmt::print("    {:<14}{}\n", allocation.name, allocation.rule);
  }
}

}  // namespace ropescope::app::positions
