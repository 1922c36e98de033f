#include "ropescope/probe/sampler.h"

#include <exception>
#include <memory>
#include <numeric>
#include <utility>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/probe/sample_collector.h"

namespace ropescope {

namespace {

int64_t tokens_in(const std::vector<int64_t>& pack, const TextSet& texts) {
  int64_t tokens = 0;
  for (const int64_t text : pack)
    tokens += static_cast<int64_t>(texts.texts[static_cast<size_t>(text)].ids.size());
  return tokens;
}

/// In front of the names of what a text gives in a layer.
std::string prefix_of(int64_t text, int64_t layer) { return fmt::format("{}/{}/", text, layer); }

}  // namespace

void SampleOptions::validate(const DecoderConfig& config) const {
  const int64_t model_layers = config.num_hidden_layers;
  const int64_t model_heads = most_of_layers(config, [](const LayerShape& layer) { return layer.heads; });
  const auto check = [](const char* flag, const std::vector<int64_t>& values, int64_t end) {
    for (const int64_t value : values) {
      if (value < 0 || value >= end) {
        throw UsageError("--{}: expected numbers from 0 to {}, found {}", flag, end - 1, value);
      }
    }
  };
  check("layers", layers, model_layers);
  check("heads", heads, model_heads);
  if (!layers.empty()) layers_to_sample(config, layers);
  if (draw.pairs < 0) throw UsageError("--pairs-per-layer: expected at least 0, found {}", draw.pairs);
  if (draw.skip_first < 0) throw UsageError("--skip-first: expected at least 0, found {}", draw.skip_first);
  if (draw.pairs == 0 && !picks && !moments && !profile) {
    throw UsageError("--pairs-per-layer 0: nothing to measure; give --moments, --profile or --picks");
  }
}

SampleRun::SampleRun(const Decoder& decoder, const TextSet& texts, const SampleOptions& options,
                     std::vector<DecoderConfig> configs, EmbedTextMedia embed)
    : decoder_(decoder), texts_(texts), options_(options), embed_(std::move(embed)) {
  const c10::InferenceMode no_gradients;
  options_.validate(decoder.config);
  if (texts_.has_media() && !embed_) throw InternalError("SampleRun: nothing embeds the texts' pictures");
  if (configs.empty()) configs.push_back(decoder.config);
  for (DecoderConfig& config : configs) {
    collectors_.push_back(std::make_unique<SampleCollector>(std::move(config), texts_, options_));
  }
  packs_ = collectors_.front()->packs();
  std::vector<size_t> all(packs_.size());
  std::iota(all.begin(), all.end(), size_t{0});
  choose(all);
}

SampleRun::~SampleRun() = default;

int64_t SampleRun::tokens_of_pass(size_t pass) const { return tokens_in(packs_.at(pass), texts_); }

int64_t SampleRun::tokens_of_all() const {
  int64_t tokens = 0;
  for (size_t pass = 0; pass < packs_.size(); ++pass) tokens += tokens_of_pass(pass);
  return tokens;
}

void SampleRun::choose(const std::vector<size_t>& passes) {
  waves_.clear();
  const auto count = static_cast<int64_t>(collectors_.size());
  if (decoder_.access == nullptr) {  // nothing is gained by keeping more than one pass
    for (size_t c = 0; c < collectors_.size(); ++c) {
      for (const size_t p : passes) waves_.push_back({{p, c}});
    }
    return;
  }
  int64_t tokens = 0;
  for (const size_t p : passes) {
    const int64_t more = tokens_of_pass(p) * count;
    if (waves_.empty() || tokens + more > options_.tokens_per_wave) {
      waves_.emplace_back();
      tokens = 0;
    }
    tokens += more;
    for (size_t c = 0; c < collectors_.size(); ++c) waves_.back().push_back({p, c});
  }
}

int64_t SampleRun::steps(size_t wave) const {
  return static_cast<int64_t>(waves_.at(wave).size()) * (collectors_.front()->last_layer() + 1);
}

std::vector<size_t> SampleRun::passes_of(size_t wave) const {
  std::vector<size_t> passes;
  for (const Pass& pass : waves_.at(wave)) {
    if (passes.empty() || passes.back() != pass.pack) passes.push_back(pass.pack);
  }
  return passes;
}

std::unique_ptr<ForwardRun> SampleRun::begin(const Pass& pass, const KeepTaken& keep) {
  const std::vector<int64_t>& pack = packs_[pass.pack];
  SampleCollector& collector = *collectors_[pass.collector];
  const TextMedia* media =
      texts_.texts[static_cast<size_t>(pack.front())].media.get();  // then alone in its pass
  std::vector<int64_t> ids, lengths;
  std::vector<at::Tensor> positions;
  for (const int64_t text : pack) {
    const auto& of_text = texts_.texts[static_cast<size_t>(text)].ids;
    ids.insert(ids.end(), of_text.begin(), of_text.end());
    lengths.push_back(static_cast<int64_t>(of_text.size()));
    positions.push_back(at::arange(lengths.back(), at::kDouble));
  }
  const at::Device device = decoder_.weights.embed_tokens.device();
  at::Tensor position_ids = at::cat(positions).view({1, 1, -1});
  if (media != nullptr) {
    const at::Tensor own = own_position_ids(decoder_.config, media->prompt);
    if (own.defined()) position_ids = own;
  }
  const auto encoding =
      std::make_shared<const PassEncoding>(encoding_for(collector.config(), position_ids).to(device));

  ForwardInput input;
  input.input_ids = at::tensor(ids, at::kLong).to(device).view({1, -1});
  if (media != nullptr) embed_(*media).give(input);
  if (pack.size() > 1) input.segment_lengths = lengths;
  input.encoding = encoding.get();
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = false;
  options.stop_after_qk_of_layer = collector.last_layer();
  Taps taps;
  taps.wants_layer = [&collector](int64_t layer) { return collector.wants_layer(layer); };
  const size_t number = pass.pack;
  taps.qk = [&collector, &pack, encoding, lengths, keep, number](int64_t layer, const at::Tensor& q_BHTD,
                                                                 const at::Tensor& k_BKTD) {
    int64_t begin = 0;
    for (size_t i = 0; i < pack.size(); ++i) {
      const TakenTensors taken =
          collector.look(layer, pack[i], q_BHTD.select(0, 0).narrow(1, begin, lengths[i]),
                         k_BKTD.select(0, 0).narrow(1, begin, lengths[i]),
                         tokens_of(encoding->table(layer), begin, lengths[i]));
      begin += lengths[i];
      if (!keep) {
        collector.add(layer, pack[i], taken);
        continue;
      }
      for (const auto& [name, tensor] : taken) keep(number, prefix_of(pack[i], layer) + name, tensor);
    }
  };
  return std::make_unique<ForwardRun>(decoder_, input, options, std::move(taps));
}

void SampleRun::run_wave(size_t wave, const std::function<void()>& on_step, const KeepTaken& keep) {
  const c10::InferenceMode no_gradients;
  if (keep && collectors_.size() > 1) throw InternalError("SampleRun: what several bases give is not kept");
  std::vector<std::unique_ptr<ForwardRun>> runs;
  for (const Pass& pass : waves_.at(wave)) runs.push_back(begin(pass, keep));
  run_together(decoder_, runs, on_step);
}

void SampleRun::add(size_t pass, const TakenTensors& taken) {
  const c10::InferenceMode no_gradients;
  SampleCollector& collector = *collectors_.front();
  try {
    for (const int64_t text : packs_.at(pass)) {
      for (int64_t layer = 0; layer <= collector.last_layer(); ++layer) {
        const std::string prefix = prefix_of(text, layer);
        TakenTensors of_layer;
        for (auto one = taken.lower_bound(prefix); one != taken.end() && one->first.starts_with(prefix);
             ++one)
          of_layer.emplace(one->first.substr(prefix.size()), one->second);
        if (collector.wants_layer(layer)) collector.add(layer, text, of_layer);
      }
    }
  } catch (const std::exception&) {  // (a name that is missing, a shape that does not fit)
    throw InputError("what pass {} gave does not belong to this run", pass);
  }
}

int64_t SampleRun::most_tensors(size_t pass) const {
  return static_cast<int64_t>(packs_.at(pass).size()) * collectors_.front()->most_tensors();
}

std::vector<Samples> SampleRun::result() const {
  const c10::InferenceMode no_gradients;
  std::vector<Samples> samples;
  for (const auto& collector : collectors_) samples.push_back(collector->result());
  return samples;
}

std::vector<std::pair<std::string, at::Tensor>> SampleRun::state() const {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (size_t c = 0; c < collectors_.size(); ++c) {
    for (const auto& [name, tensor] : collectors_[c]->state())
      tensors.emplace_back("/state/" + std::to_string(c) + "/" + name, tensor);
  }
  return tensors;
}

Samples sample_texts(const Decoder& decoder, const TextSet& texts, const SampleOptions& options,
                     EmbedTextMedia embed) {
  SampleRun run(decoder, texts, options, {}, std::move(embed));
  for (size_t wave = 0; wave < run.waves(); ++wave) run.run_wave(wave);
  return std::move(run.result().front());
}

}  // namespace ropescope
