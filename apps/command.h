// A command: one file in apps/, one line in apps/commands.cpp. It parses flags, calls the library, writes a
// result.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

#include <ATen/core/Tensor.h>

#include "ropescope/io/result_file.h"

namespace ropescope::app {

namespace po = boost::program_options;

/// Flags after parsing, and the command line they came from.
struct Arguments {
  po::variables_map values;
  std::string command_line;

  bool has(const std::string& flag) const { return values.count(flag) > 0 && !values[flag].defaulted(); }
  bool flag(const std::string& name) const { return values.count(name) > 0 && values[name].as<bool>(); }
  template <typename T>
  T get(const std::string& name) const {
    return values[name].as<T>();
  }
};

struct Command {
  std::string name;
  std::string summary;  ///< one sentence
  std::string example;  ///< one line that runs
  /// Adds the command's own option groups; the common group is added by main.
  std::vector<po::options_description> (*options)();
  int (*run)(const Arguments& arguments);
};

const std::vector<Command>& commands();

/// Device, dtype, seed, threads, from the common flags.
struct CommonSettings {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;
  uint64_t seed = 0;
  bool force = false;
  bool json = false;
  bool csv = false;
};
/// Reads the common flags and applies --threads and --quiet.
CommonSettings common_settings(const Arguments& arguments);

/// A provenance record that carries the command line, device, dtype and seed.
Provenance make_provenance(const Arguments& arguments, const CommonSettings& settings);

/// The value of a flag that must be given. Throws UsageError naming it.
std::string required_text(const Arguments& arguments, const std::string& flag);

/// "0-3,31" -> 0,1,2,3,31. Throws UsageError naming the flag.
std::vector<int64_t> parse_integer_list(const std::string& text, const std::string& flag);
/// "1e4,1e5" -> doubles. Throws UsageError naming the flag.
std::vector<double> parse_number_list(const std::string& text, const std::string& flag);

}  // namespace ropescope::app
