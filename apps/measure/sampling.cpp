#include "measure/sampling.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/architectures/llava_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/core/version.h"
#include "ropescope/eval/padded_rows.h"
#include "ropescope/models/streamed_weights.h"
#include "ropescope/models/vlm_memory.h"

#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"

namespace ropescope::app {

namespace {

constexpr int64_t kMaxTexts = 100, kMinTokens = 32;
constexpr double kMib = 1024.0 * 1024;
/// What the program takes beside weights and activations: LibTorch, the tokenizer, the texts, what is collected.
constexpr double kProgramBytes = 512 * kMib;
/// Of texts that wait for a layer, unless --memory-limit allows more: enough that reading the layer costs nothing beside
/// them, few enough that an interruption loses little.
constexpr double kWaveBytes = 256 * kMib;

double seconds_from(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Whether a text's tokens lie and turn under a scheme as under the checkpoint's own rotation.
bool rotates_text_plainly(const std::string& scheme, const DecoderConfig& config) {
  const SequenceEncoding encoding(Scheme(scheme), parse_layout("text:8"), encoded_model(config));
  const auto positions = eval::plain_positions(encoding, config);
  return positions && at::equal(positions->to(at::kDouble).flatten(), at::arange(8, at::kDouble));
}

TextLimits limits_of_texts(const SamplingFlags& flags, const SampleOptions& options) {
  TextLimits limits;
  limits.max_texts = flags.max_texts.value_or(kMaxTexts);
  limits.max_tokens = flags.max_tokens;
  limits.min_tokens = flags.min_tokens.value_or(kMinTokens);
  if (options.picks) {
    // Picks number the texts themselves: nothing is skipped or left out unless a flag asks for it.
    if (!flags.min_tokens) limits.min_tokens = 1;
    if (!flags.max_texts) {
      for (const Pick& pick : options.picks->picks)
        limits.max_texts = std::max(limits.max_texts, pick.text + 1);
    }
  }
  if (!options.picks || options.moments || options.profile) {
    limits.min_tokens = std::max(limits.min_tokens, options.draw.skip_first + 1);
  }
  if (limits.max_tokens < limits.min_tokens) {
    throw UsageError(
        "--max-tokens {}: expected at least the {} tokens that a text must have (see --min-tokens, --skip-first)",
        limits.max_tokens, limits.min_tokens);
  }
  return limits;
}

}  // namespace

void SamplingFlags::bind(Flags& flags) {
  flags.group("Sampling");
  flags.add("model", model, "checkpoint: a folder in Hugging Face form, or a .gguf file")
      .stands_for(opened_model);
  flags.add(
      "texts", texts,
      "corpus: .txt, .jsonl, WikiText, dictd, or a folder of these; lines {\"text\":...,\"images\":[...]} of a .jsonl file name pictures beside it (also \"videos\", \"fps\"), for which <image> or the model's own mark stands");
  flags.add("form", form, "how to read the corpus: auto, text, lines, jsonl, wikitext, dictd")
      .one_of({"auto", "text", "lines", "jsonl", "wikitext", "dictd"});
  flags.add("max-texts", max_texts, "texts to take").at_least(1).shown_default(std::to_string(kMaxTexts));
  flags.add("max-tokens", max_tokens, "tokens of a text; the rest is cut off").at_least(1);
  flags.add("min-tokens", min_tokens, "shorter texts are skipped and counted (with --picks: 1 unless given)")
      .at_least(1)
      .shown_default(std::to_string(kMinTokens));
  flags.add("pairs-per-layer", pairs_per_layer, "random query-key pairs for each layer of each text")
      .at_least(0);
  flags.add("layers", layers, "layers, for example 0-3,31; all unless given");
  flags.add("heads", heads, "query heads, for example 0,2-4; all unless given");
  flags.add("causal", causal, "only pairs whose key is not after the query");
  flags.add("skip-first", skip_first, "leave out the first N tokens of each text (attention sinks)")
      .at_least(0);
  flags.add("picks", picks,
            "CSV with the header text,layer,head,query,key: these pairs instead of random ones");
  flags.add("moments", moments, "also mean and covariance of q and k over all tokens");
  flags.add("profile", profile, "also the mean logit of all real pairs against their distance");
  flags
      .add("tokens-per-pass", tokens_per_pass,
           "texts are packed into forward passes of about this many tokens; one with pictures goes alone")
      .at_least(1);
  flags.add("pinpoints", pictures.pinpoints,
            "pictures of LLaVA-NeXT: how its grids are read: hf or original; default: as its form does");
  pictures.decode.bind(flags);
}

void SamplingFlags::refuse_unused(const Invocation& invocation) const {
  if (!picks) return;
  const auto refuse = [&](const char* flag, const char* reason) {
    if (invocation.given(flag))
      throw UsageError("--{}: expected no such flag beside --picks, {}", flag, reason);
  };
  constexpr const char* kNamed = "whose file names the pairs";
  refuse("causal", kNamed);
  if (pairs_per_layer != 0) refuse("pairs-per-layer", kNamed);
  if (moments || profile) return;
  for (const char* flag : {"layers", "heads", "skip-first"}) refuse(flag, kNamed);
}

SamplingJob::SamplingJob(const SamplingFlags& flags, const CommonSettings& settings)
    : settings_(settings),
      model_(required_text(flags.model, "model")),
      corpus_(required_text(flags.texts, "texts")) {
  options_.draw.pairs = flags.pairs_per_layer;
  options_.draw.causal = flags.causal;
  options_.draw.skip_first = flags.skip_first;
  options_.draw.seed = settings.seed;
  options_.layers = flags.layers;
  options_.heads = flags.heads;
  options_.moments = flags.moments;
  options_.profile = flags.profile;
  options_.tokens_per_pass = flags.tokens_per_pass;
  if (flags.picks) {
    picks_file_ = *flags.picks;
    options_.picks = read_picks(*picks_file_);
  }
  const TextLimits limits = limits_of_texts(flags, options_);
  config_ = read_decoder_config(model_);
  options_.validate(config_);
  if (model_kind(model_) == ModelKind::kVlm)
    pictures_.emplace(model_, read_vlm_config(model_), config_, flags.pictures);
  const auto tokenizer = load_tokenizer(model_);
  ReadTextMedia read_media;
  if (pictures_) read_media = [&](const Document& document) { return pictures_->read(document, *tokenizer); };
  texts_ = load_texts(corpus_, parse_corpus_form(flags.form), *tokenizer, limits, read_media);
  plan_waves(flags.memory_limit);
  if (options_.picks) {
    check_picks(*options_.picks, texts_.lengths(), config_.num_hidden_layers, config_.num_attention_heads);
  }
  for (const TokenizedText& text : texts_.texts) {
    if (text.media != nullptr) continue;  // looked at when its pictures were placed
    const auto [least, most] = std::minmax_element(text.ids.begin(), text.ids.end());
    if (*least < 0 || *most >= config_.vocab_size) {
      throw InputError(
          "{}: token {} lies outside the model's vocabulary of {}; tokenizer and weights do not match",
          model_.string(), *most, config_.vocab_size);
    }
  }
  checkpoint_ = open_checkpoint(model_);
  scheme_ = tagged_scheme(model_);
  if (scheme_ && (texts_.has_media() || !rotates_text_plainly(*scheme_, config_))) {
    log_warning(
        "{}: trained under scheme {}, which does not rotate {} as the checkpoint's rotation does; samples are taken under the latter",
        model_.string(), *scheme_, texts_.has_media() ? "pictures" : "plain text");
  }
}

void SamplingJob::plan_waves(const std::optional<int64_t>& limit_mib) {
  const DecoderMemory memory = estimate_decoder_memory(config_, model_.string());
  const auto width = static_cast<double>(c10::elementSize(settings_.dtype));
  // Of a token that waits for its next layer: the hidden state (and what of its picture is still to be added to it), and
  // its part of the rotary tables.
  int64_t widest_head = 0;
  for (const LayerShape& layer : config_.layers) widest_head = std::max(widest_head, layer.head_dim);
  const int64_t deepstack = texts_.has_media() ? pictures_->config().connector.deepstack : 0;
  const double waiting = width * static_cast<double>((1 + deepstack) * config_.hidden_size) +
                         16.0 * static_cast<double>(widest_head);
  // Given texts pass each layer once: on a CPU there is nothing to gain from keeping it, in time or in memory.
  const bool decides = settings_.weights == WeightMode::kAuto && settings_.device.is_cpu();
  if (!limit_mib) {
    if (decides) settings_.weights = WeightMode::kStreamed;
    options_.tokens_per_wave = static_cast<int64_t>(kWaveBytes / waiting);
    return;
  }
  int64_t longest = options_.tokens_per_pass;
  double seeing = 0;  // the tower and what it needs, or a layer of it
  if (texts_.has_media()) {
    const std::vector<int64_t> lengths = texts_.lengths();
    longest = std::max(longest, *std::max_element(lengths.begin(), lengths.end()));
    const EyesMemory eyes = estimate_eyes_memory(pictures_->config(), model_.string());
    // A streamed tower holds a layer and half of the next.
    const bool resident = settings_.weights == WeightMode::kResident;
    const double layers = static_cast<double>(pictures_->config().vision.num_hidden_layers);
    const double share = resident ? 1 : std::min(1.0, (1 + StreamedWeights::kAhead) / layers);
    seeing = width * (share * static_cast<double>(eyes.tower) +
                      static_cast<double>(eyes.connector + eyes.activations));
  }
  const double limit = static_cast<double>(*limit_mib) * kMib, pass = static_cast<double>(longest);
  const double working =
      kProgramBytes + std::max(width * pass * static_cast<double>(memory.activations_per_token), seeing);
  if (settings_.weights == WeightMode::kResident) {
    const double whole = working + width * static_cast<double>(memory.parameters - memory.expert_parameters);
    if (whole > limit) {
      throw UsageError(
          "--memory-limit {}: expected at least the {:.0f} MiB that the run takes with --weights resident; --weights streamed needs less",
          *limit_mib, std::ceil(whole / kMib));
    }
    return;
  }
  if (decides) settings_.weights = WeightMode::kStreamed;
  const double streamed =
      (1 + StreamedWeights::kAhead) * width * static_cast<double>(memory.layer_parameters);
  const double least = working + streamed + pass * waiting;
  if (limit < least) {
    throw UsageError(
        "--memory-limit {}: expected at least {:.0f} MiB, for one layer and a half of this model and a pass of {} tokens; a smaller --tokens-per-pass needs less",
        *limit_mib, std::ceil(least / kMib), options_.tokens_per_pass);
  }
  options_.tokens_per_wave = static_cast<int64_t>((limit - working - streamed) / waiting);
}

void SamplingJob::add_inputs(Provenance& provenance) {
  for (const auto& file : checkpoint_->files()) provenance.add_input(file);
  for (const auto& file : texts_.files) provenance.add_input(file);
  for (const auto& file : picture_files(texts_)) provenance.add_input(file);
  for (const auto& file : description_files(model_)) provenance.add_input(file);
  // A tower outside the checkpoint is known once it is loaded.
  if (texts_.has_media() && llava_part(*checkpoint_, LlavaPart::kTower)->tensors().empty()) {
    load();
    for (const auto& file : vlm_->tower_files) provenance.add_input(file);
  }
  if (picks_file_) provenance.add_input(*picks_file_);
}

Json SamplingJob::inputs() const {
  Json inputs = {{"model", name_of(model_)},
                 {"texts", texts_.texts.size()},
                 {"text lengths", texts_.lengths()},
                 {"pairs a layer", options_.draw.pairs},
                 {"causal", options_.draw.causal},
                 {"first tokens left out", options_.draw.skip_first},
                 {"layers", options_.layers},
                 {"heads", options_.heads},
                 {"moments", options_.moments},
                 {"profile", options_.profile},
                 {"tokens a pass", options_.tokens_per_pass},
                 {"tokens a wave", options_.tokens_per_wave},
                 {"streamed", settings_.weights == WeightMode::kStreamed},
                 {"version", version() + " " + commit()}};
  if (texts_.has_media()) inputs.update(pictures_->rules());
  return inputs;
}

void SamplingJob::load() {
  if (decoder_ || vlm_) return;
  const auto start = std::chrono::steady_clock::now();
  const LoadOptions options = load_options(settings_, /*with_lm_head=*/false);
  if (texts_.has_media()) {
    vlm_ = load_vlm(checkpoint_, pictures_->config(), config_, model_, options);
  } else {
    decoder_ = load_decoder(checkpoint_, config_, options);
  }
  load_seconds_ += seconds_from(start);
}

Samples SamplingJob::run(const SharedSampling* shared) {
  load();
  return std::move(run_all({{}}, shared).front());
}

std::vector<Samples> SamplingJob::run(const std::vector<BaseChange>& changes) {
  load();
  if (decoder().access != nullptr) return run_all(changes, nullptr);  // one reading for all of them
  std::vector<Samples> samples;
  for (const BaseChange& change : changes) samples.push_back(std::move(run_all({change}, nullptr).front()));
  return samples;
}

void SamplingJob::run_waves(SampleRun& run, const std::string& label, const SharedSampling* shared) {
  SamplingState* const state = shared == nullptr ? nullptr : &shared->state;
  size_t done = 0;
  if (state != nullptr && shared->resume) {
    done = state->restore(run);
    state->say(done, run.passes());
  } else if (state != nullptr) {
    state->mention();
    shared->parts.remove();  // an older run's, which --resume would take for this one's
  }
  if (done > 0) {
    std::vector<size_t> left(run.passes() - done);
    std::iota(left.begin(), left.end(), done);
    run.choose(left);
  }
  int64_t steps = 0;
  for (size_t wave = 0; wave < run.waves(); ++wave) steps += run.steps(wave);
  Progress progress(label.empty() ? "sampling" : "sampling, " + label, "layers", steps);
  for (size_t wave = 0; wave < run.waves(); ++wave) {
    run.run_wave(wave, [&] { progress.advance(); });
    done += run.passes_of(wave).size();
    if (state != nullptr) state->save(run, done);
  }
}

std::vector<Samples> SamplingJob::run_all(const std::vector<BaseChange>& changes,
                                          const SharedSampling* shared) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<DecoderConfig> configs;
  for (const BaseChange& change : changes) {
    configs.push_back(decoder().config);
    for (RopeConfig& rope : configs.back().ropes) rope.theta = change.of(rope.theta);
  }
  EmbedTextMedia embed;
  if (vlm_) embed = [&](const TextMedia& media) { return pictures_->embed(*vlm_, media); };
  SampleRun run(decoder(), texts_, options_, configs, embed);
  if (shared != nullptr && shared->in_parts()) {
    // With weights in memory a pass at a time; streamed ones are read once for a whole share.
    const int64_t share = run.tokens_of_all() / shared->work.world() + 1;
    const bool streamed = decoder().access != nullptr;
    sample_in_parts(run, *shared, streamed ? std::min(options_.tokens_per_wave, share) : 1);
  } else {
    run_waves(run, changes.size() == 1 ? changes.front().label() : "", shared);
  }
  std::vector<Samples> all = run.result();
  for (Samples& samples : all) {
    // The checkpoint's own bases, whatever the run's were: who changes them again starts from these.
    const int64_t head_dim = samples.model.head_dim;
    samples.model = model_facts(config_);
    samples.model.head_dim = head_dim;
    samples.model.sources = fmt::format("{}, {}", name_of(model_), name_of(corpus_));
    samples.model.scheme = scheme_.value_or("");
  }
  forward_seconds_ += seconds_from(start);
  return all;
}

}  // namespace ropescope::app
