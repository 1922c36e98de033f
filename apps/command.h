// A command: one file in apps/ in a namespace of its own, one line in apps/commands.cpp. It declares its flags
// (flags.h), calls the library and writes a result.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/io/result_file.h"
#include "ropescope/models/decoder.h"

#include "flags.h"

namespace ropescope::app {

/// The flags that all commands take, as given.
struct CommonFlags {
  std::string device = "cpu";
  std::optional<std::string> dtype;
  std::string weights = "auto";
  int64_t threads = 0;
  uint64_t seed = 0;
  bool force = false, json = false, csv = false, quiet = false, help = false;
  std::string config;
};

/// Device, dtype and the rest, from the common flags.
struct CommonSettings {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;
  WeightMode weights = WeightMode::kAuto;
  uint64_t seed = 0;
  bool force = false;
  bool json = false;
  bool csv = false;
};

/// Applies --threads and --quiet.
CommonSettings common_settings(const CommonFlags& flags);

/// What a run of a command knows beside its own flags.
struct Invocation {
  const Flags& flags;  ///< all of them: which were given, and their values for a record
  const CommonFlags& common;
  CommonSettings settings;
  std::string command_line;

  bool given(const std::string& flag) const { return flags.given(flag); }
  /// A provenance record that carries the command line, device, dtype and seed.
  Provenance provenance() const;
};

/// Which of the common flags mean something to a command; help shows no others.
enum CommonUse : unsigned {
  kPlain = 0,       ///< --quiet, --config, --help only
  kRunsModel = 1u,  ///< --device, --dtype, --threads
  kThreads = 2u,    ///< --threads without a device
  kDraws = 4u,      ///< --seed
  kWrites = 8u,     ///< --force
  kJson = 16u,      ///< --json
  kCsv = 32u,       ///< --csv
  kTables = kJson | kCsv,
  kDtype = 64u,     ///< --dtype without a device
  kStreams = 128u,  ///< --weights
};

/// The flags of one call of a command, and what to do with them.
struct [[nodiscard]] BoundCommand {
  std::shared_ptr<void> fields;  ///< what the flags fill
  std::function<int(const Invocation&)> run;
};

struct Command {
  std::string name;
  std::string summary;  ///< one sentence, in the third person
  std::string example;  ///< one line that runs
  unsigned common;      ///< CommonUse
  std::function<BoundCommand(Flags&)> bind;
};

/// `Fields` has `void bind(Flags&)`; `run` gets it filled.
template <typename Fields>
Command make_command(std::string name, std::string summary, std::string example, unsigned common,
                     int (*run)(const Fields&, const Invocation&)) {
  return {std::move(name), std::move(summary), std::move(example), common, [run](Flags& flags) {
            auto fields = std::make_shared<Fields>();
            fields->bind(flags);
            return BoundCommand{
                fields, [fields, run](const Invocation& invocation) { return run(*fields, invocation); }};
          }};
}

const std::vector<Command>& commands();

/// Declares a command's own flags and the common ones. Every command takes all of the common ones; help and completion
/// show those that mean something to it.
BoundCommand bind_command(const Command& command, Flags& flags, CommonFlags& common);

}  // namespace ropescope::app
