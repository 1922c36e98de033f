#include "trace/trace_tensors.h"

#include <numeric>
#include <optional>

#include <ATen/core/grad_mode.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/models/pass_attention.h"
#include "ropescope/rope/rotation.h"

#include "trace/trace_output.h"
#include "trace/trace_scheme.h"

namespace ropescope::app::trace {

namespace {

// [1, heads, tokens, head_dim] of a tensor stored as [heads, tokens, head_dim].
at::Tensor take(const Checkpoint& file, const std::string& name, const std::string& path,
                const CommonSettings& settings) {
  const TensorInfo* info = file.find(name);
  if (info == nullptr) throw InputError("{}: expected a tensor \"{}\", found none", path, name);
  bool empty = false;
  for (const int64_t size : info->shape) empty = empty || size == 0;
  if (info->shape.size() != 3 || empty) {
    throw InputError("{}: {}: expected [heads, tokens, head_dim], found {} dimensions", path, name,
                     info->shape.size());
  }
  return file.take(name, settings.dtype).to(settings.device).unsqueeze(0);
}

void check_same(const at::Tensor& k, const at::Tensor& x, const char* name, bool same_heads,
                const std::string& path) {
  const bool heads = same_heads ? x.size(1) == k.size(1) : x.size(1) % k.size(1) == 0;
  if (!heads || x.size(2) != k.size(2) || x.size(3) != k.size(3)) {
    throw InputError("{}: {} [{}, {}, {}] does not fit k [{}, {}, {}] (heads, tokens, head_dim)", path, name,
                     x.size(1), x.size(2), x.size(3), k.size(1), k.size(2), k.size(3));
  }
}

}  // namespace

int run_trace_tensors(const TraceFlags& flags, const Invocation& invocation) {
  for (const char* flag : {"model", "text", "tokens", "generate", "layers"}) {
    if (invocation.given(flag)) throw UsageError("--tensors and --{}: expected only one of the two", flag);
  }
  const at::NoGradGuard no_grad;
  const CommonSettings& settings = invocation.settings;
  const std::string& path = *flags.tensors;
  const PairLayout pairing = flags.pairing == "adjacent" ? PairLayout::kAdjacent : PairLayout::kHalfSplit;
  const auto file = open_checkpoint(path);
  const at::Tensor q = take(*file, "q", path, settings), k = take(*file, "k", path, settings);
  check_same(k, q, "q", false, path);
  std::optional<at::Tensor> v;
  if (file->find("v") != nullptr) {
    v = take(*file, "v", path, settings);
    check_same(k, *v, "v", true, path);
  }
  const int64_t tokens = q.size(2);
  const EncodedModel sizes{flags.rope.over({}), q.size(3), q.size(1), k.size(1), 0, 0};
  TraceEncoding under_scheme = trace_encoding(flags.under, sizes, tokens, {});
  if (!under_scheme.prompt) {
    const SequenceEncoding plain(Scheme("vanilla"), parse_layout(fmt::format("text:{}", tokens)), sizes);
    under_scheme.prompt = plain.pass(0, tokens);
    under_scheme.position_ids = plain.coordinates(tokens).unsqueeze(1);
  }
  PassEncoding encoding = under_scheme.prompt->to(settings.device);
  for (RotaryTable& table : encoding.rotary) table.layout = pairing;
  for (RotaryTable& table : encoding.anchored) table.layout = pairing;
  const RotaryTable& table = encoding.table(0);
  const std::set<std::string> wanted =
      flags.dump ? parse_dump(*flags.dump)
                 : std::set<std::string>{"q", "k", "q_rotated", "k_rotated", "attention"};
  for (const char* name : {"logits", "hidden"}) {
    if (wanted.count(name) > 0) throw UsageError("--dump {}: --tensors has no model to compute it", name);
  }

  Provenance provenance = invocation.provenance();
  provenance.add_input(path);
  TraceOutput output(flags.output, provenance, settings.force);
  const at::Tensor q_rotated = apply_rotary(q, table), k_rotated = apply_rotary(k, table);
  at::Tensor q_anchored;
  if (!encoding.anchored.empty()) q_anchored = apply_rotary(q, encoding.anchored_table(0));
  output.write("position_ids", under_scheme.position_ids);
  if (wanted.count("q") > 0) output.write("q/0", q);
  if (wanted.count("k") > 0) output.write("k/0", k);
  if (wanted.count("q_rotated") > 0) output.write("q_rotated/0", q_rotated);
  if (wanted.count("k_rotated") > 0) output.write("k_rotated/0", k_rotated);
  if (wanted.count("q_rotated") > 0 && q_anchored.defined()) output.write("q_anchored/0", q_anchored);
  const PassAttention attention(encoding, AttentionPlan(1, tokens, 0, {}, {}, q.scalar_type(), q.device()),
                                tokens, q.scalar_type(), q.device());
  if (wanted.count("attention") > 0) {
    std::vector<int64_t> queries(static_cast<size_t>(tokens));
    std::iota(queries.begin(), queries.end(), 0);
    output.write("attention/0", attention.rows(0, q_rotated, q_anchored, k_rotated, queries, {}));
  }
  if (v) {
    const at::Tensor attended = attention.attend(0, q_rotated, q_anchored, k_rotated, *v, {});
    output.write("output/0", attended.unflatten(2, {q.size(1), v->size(3)}).transpose(1, 2));
  }
  output.finish(settings.json, settings.csv, {}, {});
  return 0;
}

}  // namespace ropescope::app::trace
