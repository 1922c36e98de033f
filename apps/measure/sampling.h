// What `sample` and `decay --model` share: the flags of sampling, and running it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ropescope/analysis/decay_layers.h"
#include "ropescope/models/decoder.h"
#include "ropescope/probe/sampler.h"

#include "command.h"
#include "inputs/image_input.h"
#include "measure/shared_sampling.h"
#include "measure/text_pictures.h"

namespace ropescope::app {

/// --model, --texts, --form, --max-texts, ..., --tokens-per-pass.
struct SamplingFlags {
  std::string model, texts;  // empty: not given
  std::string form = "auto";
  std::optional<int64_t> max_texts, min_tokens;  // with --picks they default to what the picks need
  int64_t max_tokens = 512, pairs_per_layer = 10, skip_first = 0, tokens_per_pass = 2048;
  std::vector<int64_t> layers, heads;
  bool causal = false, moments = false, profile = false;
  std::optional<std::string> picks;
  std::optional<int64_t> memory_limit;  // MiB
  ImageFlags pictures;                  // --alpha, --exif, --pinpoints alone

  void bind(Flags& flags);
  /// Throws UsageError for a flag that --picks makes meaningless.
  void refuse_unused(const Invocation& invocation) const;
};

/// Everything that the flags name, read and checked before any weight is touched.
class SamplingJob {
 public:
  /// Throws UsageError without a model or texts.
  SamplingJob(const SamplingFlags& flags, const CommonSettings& settings);

  SampleOptions& options() { return options_; }
  const DecoderConfig& config() const { return config_; }
  const TextSet& texts() const { return texts_; }
  /// Adds weights, texts with their pictures, and picks.
  void add_inputs(Provenance& provenance);
  /// Everything that the numbers depend on and that no file says, for a state.
  Json inputs() const;
  /// Loads the weights on the first call, and runs the model. `shared`: where it goes on from, saved after waves, and which
  /// processes take part; only the one that leads gets samples of all texts.
  Samples run(const SharedSampling* shared = nullptr);
  /// The same with its bases changed, one set of samples a change; streamed weights are read once for all of them. The
  /// samples' facts are the checkpoint's own.
  std::vector<Samples> run(const std::vector<BaseChange>& changes);
  /// Seconds spent so far.
  double load_seconds() const { return load_seconds_; }
  double forward_seconds() const { return forward_seconds_; }

 private:
  /// How many texts wait together for a layer, and whether weights are streamed.
  void plan_waves(const std::optional<int64_t>& limit_mib);
  void load();
  const Decoder& decoder() const { return vlm_ ? vlm_->decoder : *decoder_; }
  std::vector<Samples> run_all(const std::vector<BaseChange>& changes, const SharedSampling* shared);
  /// Of one process.
  void run_waves(SampleRun& run, const std::string& label, const SharedSampling* shared);

  CommonSettings settings_;
  std::filesystem::path model_, corpus_;
  std::optional<std::string> scheme_;  // that the model was trained under
  std::optional<std::filesystem::path> picks_file_;
  DecoderConfig config_;
  TextSet texts_;
  SampleOptions options_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::optional<TextPictures> pictures_;  // of a model that sees
  std::optional<Decoder> decoder_;
  std::optional<Vlm> vlm_;  // in its place where texts have pictures
  double load_seconds_ = 0, forward_seconds_ = 0;
};

}  // namespace ropescope::app
