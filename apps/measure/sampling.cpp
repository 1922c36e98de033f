#include "measure/sampling.h"

#include <algorithm>
#include <chrono>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/core/log.h"
#include "ropescope/eval/padded_rows.h"

#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"

namespace ropescope::app {

namespace {

constexpr int64_t kMaxTexts = 100, kMinTokens = 32;

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
  flags.add("texts", texts, "corpus: .txt, .jsonl, WikiText, dictd, or a folder of these");
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
           "texts are packed into forward passes of about this many tokens")
      .at_least(1);
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
  const auto tokenizer = load_tokenizer(model_);
  texts_ = load_texts(corpus_, parse_corpus_form(flags.form), *tokenizer, limits);
  if (options_.picks) {
    check_picks(*options_.picks, texts_.lengths(), config_.num_hidden_layers, config_.num_attention_heads);
  }
  for (const TokenizedText& text : texts_.texts) {
    const auto [least, most] = std::minmax_element(text.ids.begin(), text.ids.end());
    if (*least < 0 || *most >= config_.vocab_size) {
      throw InputError(
          "{}: token {} lies outside the model's vocabulary of {}; tokenizer and weights do not match",
          model_.string(), *most, config_.vocab_size);
    }
  }
  checkpoint_ = open_checkpoint(model_);
  scheme_ = tagged_scheme(model_);
  if (scheme_ && !rotates_text_plainly(*scheme_, config_)) {
    log_warning(
        "{}: trained under scheme {}, which does not rotate plain text as the checkpoint's rotation does; samples are taken under the latter",
        model_.string(), *scheme_);
  }
}

void SamplingJob::add_inputs(Provenance& provenance) const {
  for (const auto& file : checkpoint_->files()) provenance.add_input(file);
  for (const auto& file : texts_.files) provenance.add_input(file);
  for (const auto& file : description_files(model_)) provenance.add_input(file);
  if (picks_file_) provenance.add_input(*picks_file_);
}

Samples SamplingJob::run(const BaseChange& change) {
  if (!decoder_) {
    const auto start = std::chrono::steady_clock::now();
    LoadOptions load;
    load.device = settings_.device;
    load.dtype = settings_.dtype;
    load.with_lm_head = false;
    decoder_ = load_decoder(checkpoint_, config_, load);
    load_seconds_ += seconds_from(start);
  }
  decoder_->config.ropes = config_.ropes;
  for (RopeConfig& rope : decoder_->config.ropes) rope.theta = change.of(rope.theta);
  const auto start = std::chrono::steady_clock::now();
  const std::string label = change.label();
  Progress progress(label.empty() ? "sampling" : "sampling, " + label, "texts",
                    static_cast<int64_t>(texts_.texts.size()));
  Samples samples =
      sample_texts(*decoder_, texts_, options_, [&](int64_t texts) { progress.advance(texts); });
  progress.finish();
  // The checkpoint's own bases, whatever the run's were: who changes them again starts from these.
  const int64_t head_dim = samples.model.head_dim;
  samples.model = model_facts(config_);
  samples.model.head_dim = head_dim;
  samples.model.sources = fmt::format("{}, {}", name_of(model_), name_of(corpus_));
  samples.model.scheme = scheme_.value_or("");
  forward_seconds_ += seconds_from(start);
  return samples;
}

}  // namespace ropescope::app
