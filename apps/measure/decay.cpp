// ropescope decay: the mean inner product of query and key against their distance, for every theta.
#include "ropescope/analysis/decay.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figures.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

#include "measure/bases.h"
#include "measure/decay_report.h"
#include "measure/sampling.h"

namespace ropescope::app {

namespace decay {

namespace {

constexpr int64_t kDefaultDistance = 4096;      // where a samples file does not know the model's context
constexpr int64_t kMostDistances = 10'000'000;  // beyond any context; keeps a typo from filling the memory
constexpr double kTurn = 6.283185307179586477;
constexpr double kMostMebibytes = int64_t{1} << 40;

struct DecayFlags {
  std::string samples, output;     // empty: not given
  std::vector<int64_t> distances;  // empty: not given
  std::optional<std::string> source, plot;
  std::optional<int64_t> max_distance;
  std::string sign = "causal", by = "theta", encoding = "rope";
  std::optional<std::string> pope_bias;
  std::optional<std::string> keep;
  bool resample = false;
  int64_t memory_limit = 2048;
  BaseFlags bases;
  SamplingFlags sampling;

  void bind(Flags& flags) {
    flags.group("Curves");
    flags.add("samples", samples, "result of `ropescope sample`, or any HDF5 file with /pairs or /moments");
    bases.bind(flags);
    flags
        .add(
            "by", by,
            "the table and the figure: theta, the mean over the layers that rotate; kind, the mean of each kind of layers (sliding, full, without rotation); tokens, of texts with pictures, of each kind of pair (text to visual, ...)")
        .one_of({"theta", "kind", "tokens"});
    flags
        .add("max-distance", max_distance,
             "distances 0 to M tokens, M included; the model's context unless given")
        .between(0, kMostDistances);
    flags.add("distances", distances, "distances, for example 0-64,128,4096");
    flags
        .add("sign", sign,
             "causal: the key is m tokens earlier; paper: the printed formula, the key is later")
        .one_of({"causal", "paper"});
    flags
        .add("encoding", encoding,
             "rope: q and k are turned; pope: softplus of q and k, positions alone turn (arXiv 2509.10534)")
        .one_of({"rope", "pope"});
    flags.add(
        "pope-bias", pope_bias,
        "PoPE's phases, -2 pi to 0: a number, or a safetensors file with one tensor, [layers, heads, channels] or its "
        "last axes; 0 unless given");
    flags
        .add("source", source,
             "pairs, or moments (mean_q and mean_k of each head); pairs where there are some")
        .one_of({"pairs", "moments"});
    flags.add("resample", resample, "run the model anew under each theta (needs --model)");
    flags
        .add(
            "keep", keep,
            "what the file holds of each theta: mean, layers (and by_layer) or all (and by_head); all unless given, "
            "but by_head only up to 64 MiB")
        .one_of({"mean", "layers", "all"});
    flags.add("memory-limit", memory_limit, "MiB of results; by_layer and by_head are left out beyond it")
        .between(1, kMostMebibytes);
    flags.add("plot", plot, "figure of the curves (.png, .svg or .pdf)");
    flags.add("output", output, "result file, for example decay.h5").required();
    sampling.bind(flags);
  }
};

/// Samples are taken already: what chose them cannot choose again. --layers, --heads and --causal select among them.
void refuse_sampling_flags(const Invocation& invocation) {
  for (const char* flag : {"texts", "form", "max-texts", "max-tokens", "min-tokens", "pairs-per-layer",
                           "skip-first", "picks", "moments", "profile", "tokens-per-pass"}) {
    if (!invocation.given(flag)) continue;
    throw UsageError(
        "--{}: expected no such flag beside --samples, whose pairs are taken already (--layers, --heads and --causal "
        "select among them); give it to `ropescope sample`",
        flag);
  }
}

DecayKeep parse_keep(const std::optional<std::string>& word) {
  if (!word) return DecayKeep::kSmall;
  return *word == "mean" ? DecayKeep::kMean : *word == "layers" ? DecayKeep::kLayers : DecayKeep::kAll;
}

at::Tensor chosen_distances(const DecayFlags& flags, const ModelFacts& model) {
  if (!flags.distances.empty()) {
    if (flags.max_distance) throw UsageError("--distances and --max-distance: expected one of the two");
    return at::tensor(flags.distances, at::kLong);
  }
  const int64_t context =
      model.max_position_embeddings > 0 ? model.max_position_embeddings : kDefaultDistance;
  const int64_t last = flags.max_distance.value_or(context);
  if (last > kMostDistances) {
    throw UsageError("--max-distance is required: the model's context of {} is more than {} tokens", last,
                     kMostDistances);
  }
  return at::arange(last + 1, at::kLong);
}

/// Pairs where no source was asked for and there are some.
SampleSource chosen_source(const DecayFlags& flags, bool has_pairs) {
  if (flags.source) return *flags.source == "pairs" ? SampleSource::kPairs : SampleSource::kMoments;
  return has_pairs ? SampleSource::kPairs : SampleSource::kMoments;
}

/// The samples that the curves are made of, and the settings that depend on them.
struct Inputs {
  std::vector<Samples> runs;
  DecayOptions options;
  Provenance provenance;
};

/// --pope-bias. Throws UsageError, InputError.
PopeBias read_pope_bias(const std::optional<std::string>& text) {
  PopeBias bias;
  if (!text) return bias;
  if (!std::filesystem::exists(*text)) {
    const std::vector<double> number = parse_number_list(*text, "pope-bias");
    if (number.size() != 1 || !(number.front() >= -kTurn && number.front() <= 0)) {
      throw UsageError("--pope-bias: expected a number from -2 pi to 0 or a safetensors file, found \"{}\"",
                       *text);
    }
    bias.delta = at::tensor(number.front(), at::kDouble);
    return bias;
  }
  const auto file = open_checkpoint(*text);
  if (file->tensors().size() != 1) {
    throw InputError("--pope-bias {}: expected one tensor, found {}", *text, file->tensors().size());
  }
  bias.delta = file->take(file->tensors().front().name, at::kFloat).to(at::kDouble);
  if (!at::isfinite(bias.delta).all().item<bool>()) {
    throw InputError("--pope-bias {}: expected finite phases, found infinity or NaN", *text);
  }
  return bias;
}

DecayOptions read_options(const DecayFlags& flags, const ModelFacts& model, SampleSource source) {
  DecayOptions options;
  static_cast<BaseColumns&>(options) = flags.bases.columns(model);
  options.distance = chosen_distances(flags, model);
  options.sign = parse_decay_sign(flags.sign);
  options.source = source;
  options.resampled = flags.resample;
  options.memory_limit_bytes = flags.memory_limit << 20;
  options.keep = parse_keep(flags.keep);
  if (flags.encoding == "pope") {
    options.pope = read_pope_bias(flags.pope_bias);
  } else if (flags.pope_bias) {
    throw UsageError("--pope-bias: expected --encoding pope too, whose phases it gives");
  }
  return options;
}

/// Samples that do not tell layers apart have no kinds.
void refuse_by_kind(const DecayFlags& flags, const ModelFacts& model) {
  if (flags.by != "kind" || !model.layers.empty()) return;
  throw UsageError(
      "--by kind: expected samples that say what turns each layer, found no /samples/layers in {}; sample again, or "
      "select layers with --layers",
      flags.samples);
}

/// Asked for, or all that there is: a mean over layers that rotate needs some.
DecayBy shown_by(const DecayFlags& flags, const DecayResult& result) {
  if (flags.by == "tokens") {
    if (result.tokens.empty()) {
      throw UsageError(
          "--by tokens: expected pairs of texts with pictures (--source pairs), found pairs that are not told apart");
    }
    return DecayBy::kTokens;
  }
  const auto rotates = [](const DecayKind& kind) { return kind.rotates; };
  const bool none_rotates =
      !result.kinds.empty() && std::none_of(result.kinds.begin(), result.kinds.end(), rotates);
  return flags.by == "kind" || none_rotates ? DecayBy::kLayers : DecayBy::kTheta;
}

Inputs from_samples(const DecayFlags& flags, const Invocation& invocation) {
  if (flags.resample) throw UsageError("--resample: needs --model and --texts, since it runs the model");
  refuse_sampling_flags(invocation);
  const std::filesystem::path path = flags.samples;
  const SampleSource source = chosen_source(flags, flags.source || ResultReader(path).has("/pairs/q"));
  Inputs inputs;
  const SampleSelection selection{flags.sampling.layers, flags.sampling.heads, flags.sampling.causal};
  inputs.runs.push_back(read_samples(path, source, selection));
  refuse_by_kind(flags, inputs.runs.front().model);
  inputs.options = read_options(flags, inputs.runs.front().model, source);
  inputs.options.selection = selection.text();
  inputs.provenance = invocation.provenance();
  inputs.provenance.add_input(path);
  return inputs;
}

int run(const DecayFlags& flags, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  const std::string& output = flags.output;
  if (flags.plot) check_figure_path(*flags.plot, settings.force);
  if (flags.samples.empty() == flags.sampling.model.empty()) {
    throw UsageError("expected either --samples, or --model with --texts");
  }
  Inputs inputs;
  std::optional<SamplingJob> job;
  if (!flags.samples.empty()) {
    inputs = from_samples(flags, invocation);
  } else {
    flags.sampling.refuse_unused(invocation);
    job.emplace(flags.sampling, settings);
    inputs.options = read_options(flags, model_facts(job->config()), chosen_source(flags, true));
    if (inputs.options.source == SampleSource::kMoments) job->options().moments = true;
    inputs.provenance = invocation.provenance();
    job->add_inputs(inputs.provenance);
  }
  if (flags.pope_bias && std::filesystem::exists(*flags.pope_bias))
    inputs.provenance.add_input(*flags.pope_bias);
  ResultWriter writer(output, inputs.provenance, settings.force);
  if (job) {
    if (inputs.options.resampled) {
      inputs.runs = job->run(base_changes(inputs.options));
    } else {
      inputs.runs.push_back(job->run());
      write_samples(writer, inputs.runs.front());
      write_clips(writer, job->texts());
    }
  }
  const auto start = std::chrono::steady_clock::now();
  const DecayResult result = compute_decay(inputs.runs, inputs.options);
  const DecayBy by = shown_by(flags, result);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_decay(writer, result);
  const uint64_t bytes = writer.commit();
  for (const std::string& note : result.notes) log_warning("{}", note);

  if (settings.json) {
    print_json(result, by, output, seconds);
  } else if (settings.csv) {
    print_csv(result, by);
  } else {
    print_table(result, by, !flags.distances.empty());
    fmt::print("\n{} distances x {} thetas in {:.3f} s; written to {} ({:.1f} MB)\n", result.distance.size(0),
               result.theta.size(0), seconds, output, static_cast<double>(bytes) / 1e6);
  }
  if (flags.plot) {
    plot_result(output,
                by == DecayBy::kLayers   ? "by-kind"
                : by == DecayBy::kTokens ? "by-tokens"
                                         : "decay",
                *flags.plot, settings.force);
    log_info("figure written to {}", *flags.plot);
  }
  return 0;
}

}  // namespace

}  // namespace decay

extern const Command kDecay;
const Command kDecay = make_command<decay::DecayFlags>(
    "decay", "Measures how the inner product of real queries and keys decays with their distance.",
    "ropescope decay --samples samples.h5 --theta-grid 1e4:1e7:4 --output decay.h5",
    kRunsModel | kStreams | kDraws | kWrites | kTables, decay::run);

}  // namespace ropescope::app
