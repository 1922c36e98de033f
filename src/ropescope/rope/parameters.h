// The settings inside a scheme's text: `name:key=value,key=value`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ropescope {

/// A setting that a scheme understands, as `ropescope positions --list` shows it.
struct ParameterInfo {
  std::string name;
  std::string fallback;  ///< default as text; empty = none
  std::string meaning;
};

/// Settings given by the user. All getters throw UsageError naming the scheme, the setting, what was expected
/// and what was found; they return the fallback when the setting is absent.
class Parameters {
 public:
  Parameters() = default;
  Parameters(std::string scheme, std::map<std::string, std::string> values)
      : scheme_(std::move(scheme)), values_(std::move(values)) {}

  bool has(const std::string& name) const { return values_.count(name) > 0; }
  const std::string& scheme() const { return scheme_; }
  const std::map<std::string, std::string>& values() const { return values_; }
  /// Sets a value that the user left out.
  void set_default(const std::string& name, const std::string& value) { values_.emplace(name, value); }

  std::string text(const std::string& name, const std::string& fallback) const;
  double number(const std::string& name, double fallback) const;
  /// A number > 0.
  double positive(const std::string& name, double fallback) const;
  int64_t integer(const std::string& name, int64_t fallback, int64_t lowest) const;
  bool boolean(const std::string& name, bool fallback) const;
  /// "16/24/24"; exactly `count` numbers where count > 0.
  std::optional<std::vector<double>> numbers(const std::string& name, size_t count) const;
  std::optional<std::vector<int64_t>> integers(const std::string& name, size_t count) const;
  /// One of `choices`.
  std::string choice(const std::string& name, const std::vector<std::string>& choices) const;

  [[noreturn]] void refuse(const std::string& name, const std::string& expected) const;

 private:
  std::string scheme_;
  std::map<std::string, std::string> values_;
};

}  // namespace ropescope
