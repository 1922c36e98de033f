// ropescope's side of bench/decay: times of loading, forward passes and curves inside one process, as JSON on
// stdout. hf_decay.py's `stages` is the peer; both do the same work on the same files and give their numbers
// back, so that the driver can check that they agree.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <boost/program_options.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/sum.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/analysis/decay.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/models/decoder.h"
#include "ropescope/probe/sampler.h"
#include "ropescope/rope/decay_theory.h"
#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

namespace {

namespace po = boost::program_options;

template <typename Function>
double seconds_of(const Function& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Reads every weight once: a lazily mapped file is not loaded before that.
double touch(const Decoder& decoder) {
  const DecoderWeights& weights = decoder.weights;
  double total = weights.embed_tokens.sum().item<double>() + weights.norm.sum().item<double>();
  for (const DecoderLayerWeights& layer : weights.layers) {
    for (const at::Tensor& weight : {layer.input_norm, layer.q, layer.k, layer.v, layer.o,
                                     layer.post_attention_norm, layer.gate, layer.up, layer.down}) {
      total += weight.sum().item<double>();
    }
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

void measure_forward(const Decoder& decoder, TextSet texts, const po::variables_map& flags, Json& report) {
  const int64_t count =
      std::min<int64_t>(flags["stage-texts"].as<int64_t>(), static_cast<int64_t>(texts.texts.size()));
  texts.texts.resize(static_cast<size_t>(count));
  int64_t tokens = 0;
  for (const TokenizedText& text : texts.texts) tokens += static_cast<int64_t>(text.ids.size());
  report["forward_tokens"] = tokens;

  SampleOptions options;
  const PickList picks = read_picks(flags["picks"].as<std::string>());
  options.picks = first_picks(picks, count);
  options.tokens_per_pass = flags["pass-tokens"].as<int64_t>();
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

void measure_curves(const po::variables_map& flags, const ModelFacts& model, Json& report) {
  Samples samples = read_samples(flags["pairs"].as<std::string>(), SampleSource::kPairs);
  samples.model = model;
  const double theta = flags["theta"].as<double>();
  const at::Tensor distance = at::arange(flags["curve-distances"].as<int64_t>(), at::kLong);
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

po::variables_map parse(int argc, char** argv) {
  po::options_description options("ropescope's stages of bench/decay");
  options.add_options()                                                                        //
      ("model", po::value<std::string>()->required(), "a .gguf file")                          //
      ("safetensors", po::value<std::string>()->required(), "the same as a folder")            //
      ("texts", po::value<std::string>()->required(), "JSON lines with `text`")                //
      ("picks", po::value<std::string>()->required(), "CSV of pairs")                          //
      ("pairs", po::value<std::string>()->required(), "HDF5 file with /pairs")                 //
      ("threads", po::value<int>()->default_value(0), "0: all")                                //
      ("max-tokens", po::value<int64_t>()->default_value(512), "of one text")                  //
      ("pass-tokens", po::value<int64_t>()->default_value(2048), "of a packed pass")           //
      ("stage-texts", po::value<int64_t>()->default_value(20), "texts of the forward stages")  //
      ("curve-distances", po::value<int64_t>()->default_value(256), "distances 0..N-1")        //
      ("theta", po::value<double>()->default_value(1e4), "of the curves");
  po::variables_map flags;
  po::store(po::parse_command_line(argc, argv, options), flags);
  po::notify(flags);
  return flags;
}

void measure(const po::variables_map& flags) {
  const c10::InferenceMode inference;
  set_threads(flags["threads"].as<int>());
  const std::string model = flags["model"].as<std::string>();
  Json report;
  timed_load(model, "load_gguf", report);
  const Decoder decoder = timed_load(flags["safetensors"].as<std::string>(), "load_safetensors", report);
  TextLimits limits;
  limits.max_tokens = flags["max-tokens"].as<int64_t>();
  limits.min_tokens = 1;
  const auto tokenizer = load_tokenizer(model);
  const TextSet texts = load_texts(flags["texts"].as<std::string>(), CorpusForm::kJsonl, *tokenizer, limits);
  measure_forward(decoder, texts, flags, report);
  measure_curves(flags, model_facts(decoder.config), report);
  report["peak_bytes"] = peak_memory_bytes();
  std::printf("%s\n", report.dump().c_str());
}

}  // namespace

}  // namespace ropescope

int main(int argc, char** argv) {
  try {
    ropescope::measure(ropescope::parse(argc, argv));
    return 0;
  } catch (const ropescope::Error& error) {
    std::fprintf(stderr, "decay_stages: %s\n", error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "decay_stages: %s\n", error.what());
    return 1;
  }
}
