// What `sample` and `decay --model` share: the flags of sampling, and running it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "ropescope/models/decoder.h"
#include "ropescope/probe/sampler.h"

#include "command.h"

namespace ropescope::app {

/// --model, --texts, --form, --max-texts, ..., --tokens-per-pass.
po::options_description sampling_options();

/// Everything that the flags name, read and checked before any weight is touched.
class SamplingJob {
 public:
  SamplingJob(const Arguments& arguments, const CommonSettings& settings);

  SampleOptions& options() { return options_; }
  const DecoderConfig& config() const { return config_; }
  const TextSet& texts() const { return texts_; }
  /// Adds weights, texts and picks.
  void add_inputs(Provenance& provenance) const;
  /// Loads the weights on the first call. `theta` replaces the checkpoint's rope_theta.
  Samples run(std::optional<double> theta = std::nullopt);
  /// Seconds spent so far.
  double load_seconds() const { return load_seconds_; }
  double forward_seconds() const { return forward_seconds_; }

 private:
  CommonSettings settings_;
  std::filesystem::path model_, corpus_;
  std::optional<std::filesystem::path> picks_file_;
  DecoderConfig config_;
  TextSet texts_;
  SampleOptions options_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<Decoder> decoder_;
  double load_seconds_ = 0, forward_seconds_ = 0;
};

}  // namespace ropescope::app
