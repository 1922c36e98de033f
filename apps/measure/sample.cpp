// ropescope sample: real query and key vectors, their moments and distance profiles.
#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "ropescope/core/json.h"
#include "ropescope/core/log.h"

#include "inputs/processes.h"
#include "inputs/work_parts.h"
#include "measure/sampling.h"

namespace ropescope::app {

namespace sample {

namespace {

struct SampleFlags {
  SamplingFlags sampling;
  std::string output;
  bool resume = false;
  double save_every = 20;
  WorkFlags processes;

  void bind(Flags& flags) {
    sampling.bind(flags);
    flags
        .add(
            "memory-limit", sampling.memory_limit,
            "MiB that a run may fill: the more, the more texts share one reading of streamed weights; unless given, as many as wait in 256 MiB")
        .at_least(1);
    flags.group("Output");
    flags.add("output", output, "result file, for example samples.h5").required();
    flags.add(
        "resume", resume,
        "go on with an interrupted run of the same command: its state lies beside the output until it is complete");
    flags
        .add("save-every", save_every,
             "seconds between two writings of that state, which follow waves of texts")
        .at_least(0);
    processes.bind(flags);
  }
};

/// The numbers 0 .. count - 1 that were asked for; all of them where none was.
std::vector<int64_t> chosen(const std::vector<int64_t>& asked, int64_t count) {
  if (!asked.empty()) return asked;
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), int64_t{0});
  return all;
}

/// Layers that q and k were taken of: those asked for, or all of the samples' head size that have some of their own.
std::vector<int64_t> sampled_layers(const std::vector<int64_t>& asked, const ModelFacts& model) {
  if (!asked.empty()) return asked;
  std::vector<int64_t> sampled;
  for (size_t l = 0; l < model.layers.size(); ++l) {
    const LayerFacts& layer = model.layers[l];
    if (layer.has_qk && layer.head_dim == model.head_dim) sampled.push_back(static_cast<int64_t>(l));
  }
  return sampled;
}

/// "sliding_attention 0-4,6 (theta 10000); full_attention 5 (theta 1e+06)"
std::string kinds_text(const std::vector<int64_t>& layers, const ModelFacts& model) {
  std::vector<std::pair<LayerFacts, std::vector<int64_t>>> kinds;
  for (const int64_t l : std::set<int64_t>(layers.begin(), layers.end())) {
    const LayerFacts& layer = model.layers[static_cast<size_t>(l)];
    auto known =
        std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.first == layer; });
    if (known == kinds.end()) known = kinds.insert(known, {layer, {}});
    known->second.push_back(l);
  }
  std::string text;
  for (const auto& [facts, members] : kinds) {
    const std::string turns = facts.rotates ? fmt::format("theta {:g}", facts.rope.theta) : "no rotation";
    text += fmt::format("{}{} {} ({})", text.empty() ? "" : "; ", facts.kind, ranges_text(members), turns);
  }
  return text;
}

/// As many as ranges_text shows.
int64_t different(std::vector<int64_t> values) {
  return static_cast<int64_t>(std::set<int64_t>(values.begin(), values.end()).size());
}

std::vector<int64_t> values_of(const at::Tensor& index) {
  const int64_t* first = index.const_data_ptr<int64_t>();
  return {first, first + index.numel()};
}

/// Name and value of each line of the report.
std::vector<std::pair<std::string, Json>> report(const Samples& samples, const SamplingJob& job,
                                                 const SamplingFlags& flags, const std::string& output,
                                                 uint64_t bytes) {
  const int64_t tokens = std::accumulate(samples.text_tokens.begin(), samples.text_tokens.end(), int64_t{0});
  // Picks alone say themselves where they lie.
  const bool picked = flags.picks && !flags.moments && !flags.profile;
  const auto layers = picked ? values_of(samples.pairs.layer) : sampled_layers(flags.layers, samples.model);
  const auto heads = picked ? values_of(samples.pairs.head) : chosen(flags.heads, samples.model.num_heads);
  std::vector<std::pair<std::string, Json>> lines = {
      {"texts", samples.text_tokens.size()},
      {"skipped_short", samples.skipped_short},
      {"tokens", tokens},
      {"pairs", samples.pairs.size()},
      {"layers", different(layers)},
      {"layers_sampled", ranges_text(layers)},
      {"layers_of_model", samples.model.num_layers},
      {"layer_kinds", kinds_text(layers, samples.model)},
      {"heads", different(heads)},
      {"heads_sampled", ranges_text(heads)},
      {"heads_of_model", samples.model.num_heads},
      {"key_value_heads", samples.model.num_key_value_heads},
      {"head_dim", samples.model.head_dim},
      {"rope_theta", samples.model.rope->theta},
      {"rope_type", rope_type_name(samples.model.rope->type)},
      {"moments", samples.moments.has_value()},
      {"profile", samples.profile.has_value()},
      {"load_seconds", job.load_seconds()},
      {"forward_seconds", job.forward_seconds()},
      {"tokens_per_second", static_cast<double>(tokens) / job.forward_seconds()},
      {"output", output},
      {"bytes", bytes}};
  if (!samples.kinds) return lines;
  const std::vector<int64_t>& of_texts = samples.kinds->visual_tokens;
  lines.insert(lines.end() - 2,
               {"visual_tokens", std::accumulate(of_texts.begin(), of_texts.end(), int64_t{0})});
  // Pairs by the kinds of token that meet.
  for (int64_t kind = 0; kind < kPairKinds; ++kind) {
    const int64_t count = samples.pairs.kind.eq(kind).sum().item<int64_t>();
    lines.insert(lines.end() - 2, {pair_kind_name(kind), count});
  }
  return lines;
}

void print(const std::vector<std::pair<std::string, Json>>& lines, const CommonSettings& settings) {
  if (settings.json) {
    Json object = Json::object();
    for (const auto& [name, value] : lines) object[name] = value;
    fmt::print("{}\n", object.dump());
    return;
  }
  if (settings.csv) fmt::print("name,value\n");
  for (const auto& [name, value] : lines) {
    const std::string text = value.is_string()         ? value.get<std::string>()
                             : value.is_number_float() ? fmt::format("{:.6g}", value.get<double>())
                                                       : value.dump();
    if (settings.csv) {
      fmt::print("{},{}\n", name, text);
    } else {
      fmt::print("{:<20}{}\n", name, text);
    }
  }
}

int take_part(const SampleFlags& flags, const Invocation& invocation, DealtWork& work, const Launch& launch) {
  CommonSettings settings = invocation.settings;
  settings.device = own_device(launch, settings.device);
  SamplingJob job(flags.sampling, settings);
  Provenance provenance = invocation.provenance();
  job.add_inputs(provenance);
  std::optional<ResultWriter> writer;
  if (work.leads()) writer.emplace(flags.output, provenance, settings.force);
  SamplingState state(flags.output, provenance, job.inputs(), flags.save_every);
  const WorkParts parts(flags.output, ".safetensors");
  const SharedSampling shared{work, state, parts, flags.resume};
  const Samples samples = job.run(&shared);
  if (!work.leads()) return 0;
  write_samples(*writer, samples);
  write_clips(*writer, job.texts());
  const uint64_t bytes = writer->commit();
  state.remove();
  parts.remove();
  print(report(samples, job, flags.sampling, flags.output, bytes), settings);
  return 0;
}

int run(const SampleFlags& flags, const Invocation& invocation) {
  flags.sampling.refuse_unused(invocation);
  const Launch launch = start_process(invocation.common);
  return share_work(launch, flags.processes,
                    "; what it and the others took is kept, --resume goes on with it",
                    [&](DealtWork& work) { return take_part(flags, invocation, work, launch); });
}

}  // namespace

}  // namespace sample

extern const Command kSample;
const Command kSample = make_command<sample::SampleFlags>(
    "sample", "Takes query and key vectors of real text before rotation, with moments and profiles.",
    "ropescope sample --model SmolLM2.gguf --texts foldoc.dict.dz --moments --output samples.h5",
    kRunsModel | kStreams | kDraws | kWrites | kTables, sample::run);

}  // namespace ropescope::app
