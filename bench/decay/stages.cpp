// ropescope's side of bench/decay: times of loading, forward passes and curves inside one process, as JSON on
// stdout. hf_decay.py's `stages` is the peer; both do the same work on the same files and give their numbers
// back, so that the driver can check that they agree.
#include <cstdio>
#include <string>
#include <vector>

#include <ATen/ops/arange.h>
#include <ATen/ops/sum.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/core/json.h"
#include "ropescope/models/decoder.h"
#include "ropescope/probe/sampler.h"
#include "ropescope/rope/decay_theory.h"
#include "ropescope/text/tokenizer.h"

#include "apps/flags.h"
#include "bench/stage_main.h"

namespace ropescope {

namespace {

using bench::seconds_of;

struct StageFlags {
  std::string model, safetensors, texts, picks, pairs;
  int64_t threads = 0, max_tokens = 512, pass_tokens = 2048, stage_texts = 20, curve_distances = 256;
  double theta = 1e4;
  bool help = false;

  void bind(app::Flags& flags) {
    flags.group("ropescope's stages of bench/decay");
    flags.add("model", model, "a .gguf file").required();
    flags.add("safetensors", safetensors, "the same as a folder").required();
    flags.add("texts", texts, "JSON lines with `text`").required();
    flags.add("picks", picks, "CSV of pairs").required();
    flags.add("pairs", pairs, "HDF5 file with /pairs").required();
    flags.add("threads", threads, "0: all").at_least(0);
    flags.add("max-tokens", max_tokens, "of one text").at_least(1);
    flags.add("pass-tokens", pass_tokens, "of a packed pass").at_least(1);
    flags.add("stage-texts", stage_texts, "texts of the forward stages").at_least(1);
    flags.add("curve-distances", curve_distances, "distances 0..N-1").at_least(1);
    flags.add("theta", theta, "of the curves").above(0);
    flags.add("help", help, "this text");
  }
};

/// Reads every weight once: a lazily mapped file is not loaded before that.
double touch(const Decoder& decoder) {
  const DecoderWeights& weights = decoder.weights;
  double total = weights.embed_tokens.sum().item<double>() + weights.norm.sum().item<double>();
  for (const DecoderLayerWeights& layer : weights.layers) {
    visit_layer(layer, [&](TensorKind, const at::Tensor& weight) {
      if (weight.defined()) total += weight.sum().item<double>();
    });
  }
  return total;
}

Decoder load(const std::string& model) {
  LoadOptions options;
  options.with_lm_head = false;
  return load_decoder(*open_checkpoint(model), read_decoder_config(model), options);
}

/// Adds <name>_s and <name>_touch_s.
Decoder timed_load(const std::string& model, const std::string& name, Json& report) {
  Decoder decoder;
  const double seconds = seconds_of([&] { decoder = load(model); });
  report[name + "_s"] = seconds;
  report[name + "_touch_s"] = seconds + seconds_of([&] { touch(decoder); });
  return decoder;
}

/// Picks of the first `texts` texts.
PickList first_picks(const PickList& all, int64_t texts) {
  PickList first;
  first.file = all.file;
  for (size_t i = 0; i < all.picks.size(); ++i) {
    if (all.picks[i].text >= texts) continue;
    first.picks.push_back(all.picks[i]);
    first.lines.push_back(all.lines[i]);
  }
  return first;
}

void measure_forward(const Decoder& decoder, TextSet texts, const StageFlags& flags, Json& report) {
  const int64_t count = std::min<int64_t>(flags.stage_texts, static_cast<int64_t>(texts.texts.size()));
  texts.texts.resize(static_cast<size_t>(count));
  int64_t tokens = 0;
  for (const TokenizedText& text : texts.texts) tokens += static_cast<int64_t>(text.ids.size());
  report["forward_tokens"] = tokens;

  SampleOptions options;
  const PickList picks = read_picks(flags.picks);
  options.picks = first_picks(picks, count);
  options.tokens_per_pass = flags.pass_tokens;
  SampleOptions single = options;
  single.tokens_per_pass = 1;  // every text alone

  TextSet warm_up = texts;
  warm_up.texts.resize(std::min<size_t>(2, warm_up.texts.size()));
  SampleOptions warm_options = single;
  warm_options.picks = first_picks(picks, static_cast<int64_t>(warm_up.texts.size()));
  sample_texts(decoder, warm_up, warm_options);
  report["forward_single_s"] = seconds_of([&] { sample_texts(decoder, texts, single); });
  report["forward_many_s"] = seconds_of([&] { sample_texts(decoder, texts, options); });
}

void measure_curves(const StageFlags& flags, const ModelFacts& model, Json& report) {
  Samples samples = read_samples(flags.pairs, SampleSource::kPairs);
  samples.model = model;
  const double theta = flags.theta;
  const at::Tensor distance = at::arange(flags.curve_distances, at::kLong);
  RopeConfig rope;
  rope.theta = theta;
  const Frequencies frequencies = make_frequencies(rope, model.head_dim, model.max_position_embeddings, 1);

  // The mean curve alone, which is what rotating every pair gives.
  at::Tensor curve;
  const auto mean_curve = [&] {
    const auto [a, b] = decay_coefficients(samples.pairs.q, samples.pairs.k);
    curve = evaluate_decay(a.mean(0), b.mean(0), distance.to(at::kDouble), frequencies.inv_freq,
                           DecaySign::kCausal);
  };
  mean_curve();
  report["curve_s"] = seconds_of(mean_curve);
  report["curve"] = std::vector<double>(curve.data_ptr<double>(), curve.data_ptr<double>() + curve.numel());

  // All that `ropescope decay` reports: intervals, layers, heads, bounds, bands.
  DecayOptions options;
  options.theta = {theta};
  options.distance = distance;
  compute_decay({samples}, options);
  report["decay_report_s"] = seconds_of([&] { compute_decay({samples}, options); });
}

void measure(const StageFlags& flags) {
  const c10::InferenceMode inference;
  set_threads(static_cast<int>(flags.threads));
  Json report;
  timed_load(flags.model, "load_gguf", report);
  const Decoder decoder = timed_load(flags.safetensors, "load_safetensors", report);
  TextLimits limits;
  limits.max_tokens = flags.max_tokens;
  limits.min_tokens = 1;
  const auto tokenizer = load_tokenizer(flags.model);
  const TextSet texts = load_texts(flags.texts, CorpusForm::kJsonl, *tokenizer, limits);
  measure_forward(decoder, texts, flags, report);
  measure_curves(flags, model_facts(decoder.config), report);
  report["peak_bytes"] = peak_memory_bytes();
  std::printf("%s\n", report.dump().c_str());
}

}  // namespace

}  // namespace ropescope

int main(int argc, char** argv) {
  return ropescope::bench::stage_main("decay_stages", argc, argv, ropescope::measure);
}
