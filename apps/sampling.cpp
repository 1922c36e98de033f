#include "sampling.h"

#include <algorithm>
#include <chrono>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

namespace ropescope::app {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t at_least(const Arguments& arguments, const std::string& flag, int64_t least) {
  const int64_t value = arguments.get<int64_t>(flag);
  if (value < least) throw UsageError("--{}: expected at least {}, found {}", flag, least, value);
  return value;
}

std::vector<int64_t> integer_list(const Arguments& arguments, const std::string& flag) {
  return arguments.values.count(flag) > 0 ? parse_integer_list(arguments.get<std::string>(flag), flag)
                                          : std::vector<int64_t>{};
}

TextLimits text_limits(const Arguments& arguments, const SampleOptions& options) {
  TextLimits limits;
  limits.max_texts = at_least(arguments, "max-texts", 1);
  limits.max_tokens = at_least(arguments, "max-tokens", 1);
  limits.min_tokens = at_least(arguments, "min-tokens", 1);
  if (options.picks) {
    // Picks number the texts themselves: nothing is skipped or left out unless a flag asks for it.
    if (!arguments.has("min-tokens")) limits.min_tokens = 1;
    if (!arguments.has("max-texts")) {
      for (const Pick& pick : options.picks->picks)
        limits.max_texts = std::max(limits.max_texts, pick.text + 1);
    }
  }
  if (!options.picks || options.moments || options.profile) {
    limits.min_tokens = std::max(limits.min_tokens, options.draw.skip_first + 1);
  }
  if (limits.max_tokens < limits.min_tokens) {
    throw UsageError(
        "--max-tokens {}: expected at least the {} tokens that a text must have (see --min-tokens, "
        "--skip-first)",
        limits.max_tokens, limits.min_tokens);
  }
  return limits;
}

}  // namespace

po::options_description sampling_options() {
  po::options_description options("Sampling", 110, 55);
  options.add_options()                                                                                   //
      ("model", po::value<std::string>(), "checkpoint: a folder in Hugging Face form, or a .gguf file")   //
      ("texts", po::value<std::string>(), "corpus: .txt, .jsonl, WikiText, dictd, or a folder of these")  //
      ("form", po::value<std::string>()->default_value("auto"),
       "how to read the corpus: auto, text, lines, jsonl, wikitext, dictd")                              //
      ("max-texts", po::value<int64_t>()->default_value(100), "texts to take")                           //
      ("max-tokens", po::value<int64_t>()->default_value(512), "tokens of a text; the rest is cut off")  //
      ("min-tokens", po::value<int64_t>()->default_value(32),
       "shorter texts are skipped and counted (with --picks: 1 unless given)")  //
      ("pairs-per-layer", po::value<int64_t>()->default_value(10),
       "random query-key pairs for each layer of each text")                                   //
      ("layers", po::value<std::string>(), "layers, for example 0-3,31; all unless given")     //
      ("heads", po::value<std::string>(), "query heads, for example 0,2-4; all unless given")  //
      ("causal", po::bool_switch(), "only pairs whose key is not after the query")             //
      ("skip-first", po::value<int64_t>()->default_value(0),
       "leave out the first N tokens of each text (attention sinks)")  //
      ("picks", po::value<std::string>(),
       "CSV with the header text,layer,head,query,key: these pairs instead of random ones")           //
      ("moments", po::bool_switch(), "also mean and covariance of q and k over all tokens")           //
      ("profile", po::bool_switch(), "also the mean logit of all real pairs against their distance")  //
      ("tokens-per-pass", po::value<int64_t>()->default_value(2048),
       "texts are packed into forward passes of about this many tokens");
  return options;
}

SamplingJob::SamplingJob(const Arguments& arguments, const CommonSettings& settings)
    : settings_(settings),
      model_(required_text(arguments, "model")),
      corpus_(required_text(arguments, "texts")) {
  options_.draw.pairs = at_least(arguments, "pairs-per-layer", 0);
  options_.draw.causal = arguments.flag("causal");
  options_.draw.skip_first = at_least(arguments, "skip-first", 0);
  options_.draw.seed = settings.seed;
  options_.layers = integer_list(arguments, "layers");
  options_.heads = integer_list(arguments, "heads");
  options_.moments = arguments.flag("moments");
  options_.profile = arguments.flag("profile");
  options_.tokens_per_pass = at_least(arguments, "tokens-per-pass", 1);
  if (arguments.values.count("picks") > 0) {
    picks_file_ = arguments.get<std::string>("picks");
    options_.picks = read_picks(*picks_file_);
  }
  const TextLimits limits = text_limits(arguments, options_);
  config_ = read_decoder_config(model_);
  options_.validate(config_.num_hidden_layers, config_.num_attention_heads);
  const auto tokenizer = load_tokenizer(model_);
  texts_ = load_texts(corpus_, parse_corpus_form(arguments.get<std::string>("form")), *tokenizer, limits);
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
}

void SamplingJob::add_inputs(Provenance& provenance) const {
  for (const auto& file : checkpoint_->files()) provenance.add_input(file);
  provenance.add_input(corpus_);
  if (picks_file_) provenance.add_input(*picks_file_);
}

Samples SamplingJob::run(std::optional<double> theta) {
  if (!decoder_) {
    const auto start = Clock::now();
    LoadOptions load;
    load.device = settings_.device;
    load.dtype = settings_.dtype;
    load.with_lm_head = false;
    decoder_ = load_decoder(*checkpoint_, config_, load);
    load_seconds_ += seconds_since(start);
  }
  decoder_->config.rope.theta = theta.value_or(config_.rope.theta);
  const auto start = Clock::now();
  Progress progress(theta ? fmt::format("sampling, theta {:g}", *theta) : "sampling", "texts",
                    static_cast<int64_t>(texts_.texts.size()));
  Samples samples =
      sample_texts(*decoder_, texts_, options_, [&](int64_t texts) { progress.advance(texts); });
  progress.finish();
  forward_seconds_ += seconds_since(start);
  return samples;
}

}  // namespace ropescope::app
