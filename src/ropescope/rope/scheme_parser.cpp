#include "ropescope/rope/scheme_parser.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/nearest_name.h"

namespace ropescope {

namespace {

const SchemeDefinition& find_definition(const std::string& name) {
  std::vector<std::string> names;
  for (const SchemeDefinition& definition : scheme_definitions()) {
    if (definition.name == name) return definition;
    names.push_back(definition.name);
  }
  const std::string near = nearest_name(name, names);
  throw UsageError("unknown scheme \"{}\"{}; there are {}", name,
                   near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near), fmt::join(names, ", "));
}

// At every '+' before a letter: "1e+6" is a number.
std::vector<std::string> split_parts(const std::string& text) {
  std::vector<std::string> parts(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const bool joins = text[i] == '+' &&
                       (i + 1 == text.size() || std::isdigit(static_cast<unsigned char>(text[i + 1])) == 0);
    if (joins) {
      parts.emplace_back();
    } else {
      parts.back() += text[i];
    }
  }
  return parts;
}

std::map<std::string, std::string> parse_values(const std::string& text, const std::string& part) {
  std::map<std::string, std::string> values;
  std::stringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == item.size()) {
      throw UsageError("scheme \"{}\": expected key=value, found \"{}\"", part, item);
    }
    if (!values.emplace(item.substr(0, equals), item.substr(equals + 1)).second) {
      throw UsageError("scheme \"{}\": {} is given twice", part, item.substr(0, equals));
    }
  }
  if (values.empty()) throw UsageError("scheme \"{}\": expected key=value after the colon, found none", part);
  return values;
}

std::vector<std::string> parameter_names(const SchemeDefinition& definition) {
  std::vector<std::string> names;
  for (const ParameterInfo& info : definition.parameters) names.push_back(info.name);
  return names;
}

bool knows(const SchemeDefinition& definition, const std::string& name) {
  const std::vector<std::string> names = parameter_names(definition);
  return std::find(names.begin(), names.end(), name) != names.end();
}

SchemePart parse_part(const std::string& text, const std::string& whole) {
  const size_t colon = text.find(':');
  const std::string head = text.substr(0, colon);
  const size_t slash = head.find('/');
  const std::string name = head.substr(0, slash);
  if (name.empty()) throw UsageError("scheme \"{}\": expected a name, found none", whole);
  SchemePart part;
  part.definition = &find_definition(name);
  if (slash != std::string::npos) part.allocation = head.substr(slash + 1);
  std::map<std::string, std::string> values;
  if (colon != std::string::npos) values = parse_values(text.substr(colon + 1), text);
  part.parameters = Parameters(name, std::move(values));
  return part;
}

// Parameters of a modifier that are its base's ("dipe:sections=16/24/24").
void check_parameters(const SchemePart& part, SchemePart& base) {
  std::map<std::string, std::string> own;
  for (const auto& [name, value] : part.parameters.values()) {
    if (knows(*part.definition, name)) continue;
    if (part.definition->is_modifier() && knows(*base.definition, name) && !base.parameters.has(name)) {
      base.parameters.set_default(name, value);
      continue;
    }
    std::vector<std::string> names = parameter_names(*part.definition);
    if (part.definition->is_modifier()) {
      for (const std::string& more : parameter_names(*base.definition)) names.push_back(more);
    }
    const std::string near = nearest_name(name, names);
    throw UsageError(
        "scheme {}: unknown parameter \"{}\"{}; {}", part.definition->name, name,
        near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near),
        names.empty() ? std::string("it has none") : fmt::format("there are {}", fmt::join(names, ", ")));
  }
}

}  // namespace

std::vector<SchemePart> parse_scheme_parts(const std::string& text) {
  std::vector<SchemePart> designs, modifiers;
  for (const std::string& part : split_parts(text)) {
    SchemePart parsed = parse_part(part, text);
    (parsed.definition->is_modifier() ? modifiers : designs).push_back(std::move(parsed));
  }
  for (size_t i = 0; i < modifiers.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (modifiers[i].definition == modifiers[j].definition) {
        throw UsageError("scheme \"{}\": {} is given twice", text, modifiers[i].definition->name);
      }
    }
  }
  if (designs.size() > 1) {
    throw UsageError("scheme \"{}\": expected one position design, found {} and {}", text,
                     designs[0].definition->name, designs[1].definition->name);
  }
  if (designs.empty()) {
    // DIPE's base is three-dimensional, ID-Align's is not: the richest one that a modifier asks for.
    std::string base = modifiers[0].definition->modifies;
    for (const SchemePart& modifier : modifiers) {
      if (modifier.definition->modifies != "vanilla") base = modifier.definition->modifies;
    }
    designs.push_back(parse_part(base, text));
  }
  SchemePart& design = designs[0];
  for (SchemePart& modifier : modifiers) {
    check_parameters(modifier, design);
    if (!modifier.allocation.empty()) {
      if (!design.allocation.empty()) {
        throw UsageError("scheme \"{}\": expected one frequency allocation, found {} and {}", text,
                         design.allocation, modifier.allocation);
      }
      design.allocation = modifier.allocation;
    }
    for (const auto& [name, value] : modifier.definition->base_defaults) {
      if (knows(*design.definition, name)) design.parameters.set_default(name, value);
    }
  }
  check_parameters(design, design);
  std::vector<SchemePart> parts = {std::move(design)};
  for (SchemePart& modifier : modifiers) parts.push_back(std::move(modifier));
  return parts;
}

std::vector<std::string> split_scheme_list(const std::string& text) {
  const bool semicolons = text.find(';') != std::string::npos;
  std::vector<std::string> schemes;
  std::stringstream stream(text);
  for (std::string item; std::getline(stream, item, semicolons ? ';' : ',');) {
    // "mrope:sections=16/24/24,temporal_stride=2": a setting alone belongs to the scheme before it.
    const bool setting = !semicolons && !schemes.empty() && item.find('=') != std::string::npos &&
                         item.find('=') < item.find(':');
    if (setting) {
      schemes.back() += "," + item;
    } else if (!item.empty()) {
      schemes.push_back(item);
    }
  }
  if (schemes.empty()) throw UsageError("expected at least one scheme, found none");
  return schemes;
}

}  // namespace ropescope
