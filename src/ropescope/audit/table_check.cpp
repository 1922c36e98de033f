#include "ropescope/audit/table_check.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/decoder.h"
#include "ropescope/rope/rotation.h"
#include "ropescope/rope/scheme.h"

namespace ropescope {

namespace {

/// cos and sin of every channel pair once, [axes or 1, B, tokens, pairs] float64.
struct PairTables {
  at::Tensor cos, sin;
  std::string form;
};

at::Tensor in_four_dimensions(const at::Tensor& table, const at::Tensor& ids) {
  at::Tensor whole = table.to(at::kCPU, at::kDouble);
  while (whole.dim() < 4) whole = whole.unsqueeze(0);
  const bool fits = whole.dim() == 4 && (whole.size(0) == 1 || (whole.size(0) == 3 && ids.size(0) == 3)) &&
                    whole.size(1) == ids.size(1) && whole.size(2) == ids.size(2);
  if (!fits) {
    throw InputError(
        "cos and sin: expected [tokens, D], [{0}, {1}, D] or [3, {0}, {1}, D] as the ids have rows and tokens, found [{2}]",
        ids.size(1), ids.size(2), fmt::join(table.sizes(), ", "));
  }
  if (!whole.isfinite().all().item<bool>()) throw InputError("cos and sin: expected finite numbers");
  return whole;
}

/// The numbers of channel pairs that some layer turns.
std::vector<int64_t> pair_counts(const PassEncoding& encoding) {
  std::vector<int64_t> counts;
  for (const RotaryTable& table : encoding.rotary) {
    if (table.turns()) counts.push_back(table.cos.size(-1));
  }
  return counts;
}

at::Tensor every_second(const at::Tensor& table, int64_t first) {
  return table.slice(3, first, std::nullopt, 2);
}

PairTables pair_tables(const RecordedTables& tables, const at::Tensor& ids,
                       const std::vector<int64_t>& counts) {
  const at::Tensor cos = in_four_dimensions(tables.cos, ids), sin = in_four_dimensions(tables.sin, ids);
  if (cos.sizes() != sin.sizes()) throw InputError("cos and sin: expected one shape, found two");
  const int64_t width = cos.size(3);
  const auto holds = [&](int64_t count) {
    return std::find(counts.begin(), counts.end(), count) != counts.end();
  };
  if (width % 2 == 0 && holds(width / 2)) {
    const int64_t pairs = width / 2;
    const auto alike = [](const at::Tensor& a, const at::Tensor& b) { return a.eq(b).all().item<bool>(); };
    const bool halves = alike(cos.narrow(3, 0, pairs), cos.narrow(3, pairs, pairs)) &&
                        alike(sin.narrow(3, 0, pairs), sin.narrow(3, pairs, pairs));
    if (halves) return {cos.narrow(3, 0, pairs), sin.narrow(3, 0, pairs), "halves"};
    if (alike(every_second(cos, 0), every_second(cos, 1)) &&
        alike(every_second(sin, 0), every_second(sin, 1))) {
      return {every_second(cos, 0), every_second(sin, 0), "adjacent"};
    }
  }
  if (holds(width)) return {cos, sin, "single"};
  throw InputError(
      "cos and sin: expected {} channels, or twice that with the two of a pair alike (side by side, or half the width "
      "apart), found {}",
      fmt::join(counts, " or "), width);
}

at::Tensor apart(const at::Tensor& table, const PairTables& recorded, bool of_cos) {
  return table.to(at::kDouble).sub(of_cos ? recorded.cos : recorded.sin).abs();
}

/// |difference| of both tables, [axes or 1, B, tokens, pairs]; undefined where the widths differ.
at::Tensor difference(const at::Tensor& cos, const at::Tensor& sin, const PairTables& recorded) {
  if (cos.size(-1) != recorded.cos.size(-1)) return {};
  return at::stack({apart(cos, recorded, true), apart(sin, recorded, false)}).amax(0);
}

double largest(const at::Tensor& differences) {
  return differences.defined() ? differences.max().item<double>() : INFINITY;
}

/// [1, B, tokens, pairs] of a table [B or 1, 1, tokens, pairs].
at::Tensor without_heads(const at::Tensor& table, int64_t batch) {
  return table.select(1, 0).expand({batch, table.size(2), table.size(3)}).unsqueeze(0);
}

/// What the model's own rotation leaves of the record, over the layers that fit best.
at::Tensor own_difference(const DecoderConfig& config, const at::Tensor& ids, const PairTables& recorded) {
  const int64_t axes = recorded.cos.size(0), batch = ids.size(1);
  std::vector<PassEncoding> encodings;
  if (axes == 1) {
    encodings.push_back(encoding_for(config, ids));
  } else {  // (each axis turns all channels; they are divided later)
    for (int64_t axis = 0; axis < axes; ++axis)
      encodings.push_back(encoding_for(config, ids.narrow(0, axis, 1)));
  }
  at::Tensor best;
  for (size_t layer = 0; layer < encodings.front().rotary.size(); ++layer) {
    if (!encodings.front().rotary[layer].turns()) continue;
    std::vector<at::Tensor> cos, sin;
    for (const PassEncoding& encoding : encodings) {
      cos.push_back(without_heads(encoding.rotary[layer].cos, batch));
      sin.push_back(without_heads(encoding.rotary[layer].sin, batch));
    }
    const at::Tensor here = difference(at::cat(cos, 0), at::cat(sin, 0), recorded);
    if (here.defined() && (!best.defined() || largest(here) < largest(best))) best = here;
  }
  return best;
}

constexpr std::array<std::array<int64_t, 3>, 6> kOrders = {
    {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};

/// Another way to divide the channels among the axes.
struct Division {
  bool interleaved;
  std::array<int64_t, 3> sections, order;
};

double difference_of(const DecoderConfig& config, const Division& division, const at::Tensor& ids,
                     const PairTables& recorded) {
  const auto& [t, h, w] = division.sections;
  const Scheme scheme(
      fmt::format("mrope/{}:sections={}/{}/{}", division.interleaved ? "interleaved" : "chunked", t, h, w));
  const double length = ids.max().item<double>() + 1;
  const Frequencies frequencies =
      scheme.frequencies(config.rope(), config.head_dim, 1, config.max_position_embeddings, length);
  const at::Tensor order = at::tensor(std::vector<int64_t>(division.order.begin(), division.order.end()));
  const RotaryTable table = make_rotary_table(ids.index_select(0, order), frequencies, config.pairing);
  return largest(
      difference(without_heads(table.cos, ids.size(1)), without_heads(table.sin, ids.size(1)), recorded));
}

std::string order_text(const std::array<int64_t, 3>& order) {
  constexpr const char* kNames = "thw";
  return fmt::format("{}, {}, {}", kNames[order[0]], kNames[order[1]], kNames[order[2]]);
}

/// All ways but the model's own; its sections go with the axes, or stay where they are.
std::vector<Division> other_divisions(const RopeAxes& axes) {
  const std::array<int64_t, 3> own = {axes.t, axes.h, axes.w};
  std::vector<Division> all;
  for (const bool interleaved : {axes.interleaved, !axes.interleaved}) {
    for (const auto& order : kOrders) {
      std::array<int64_t, 3> moved{};
      for (size_t i = 0; i < 3; ++i) moved[i] = own[static_cast<size_t>(order[i])];
      if (interleaved != axes.interleaved || order != kOrders[0]) all.push_back({interleaved, own, order});
      if (moved != own) all.push_back({interleaved, moved, order});
    }
  }
  return all;
}

const TableMistake* table_mistake(const char* name) {
  const auto& all = known_table_mistakes();
  return &*std::find_if(all.begin(), all.end(), [&](const TableMistake& one) { return one.name == name; });
}

void name_division(const RopeAxes& axes, const Division& found, TableReport& report) {
  const auto words = [](bool interleaved) { return interleaved ? "interleaved" : "in consecutive groups"; };
  report.looks_like = table_mistake(found.interleaved == axes.interleaved ? "section-order"
                                    : found.interleaved                   ? "channels-interleaved"
                                                                          : "channels-chunked");
  report.detail =
      fmt::format("{} in the order {} ({}), this model {} in the order t, h, w ({}/{}/{})",
                  words(found.interleaved), order_text(found.order), fmt::join(found.sections, "/"),
                  words(axes.interleaved), axes.t, axes.h, axes.w);
}

void find_divisions(const DecoderConfig& config, const at::Tensor& ids, const PairTables& recorded,
                    TableReport& report) {
  for (const Division& division : other_divisions(*config.rope_axes)) {
    double apart = INFINITY;
    try {
      apart = difference_of(config, division, ids, recorded);
    } catch (const UsageError&) {  // (sections that cannot be interleaved)
      continue;
    }
    if (apart > report.tolerance) continue;
    name_division(*config.rope_axes, division, report);
    return;
  }
  const at::Tensor one = own_difference(config, ids.narrow(0, 0, 1), recorded);
  if (largest(one) <= report.tolerance) report.looks_like = table_mistake("one-axis");
}

}  // namespace

const std::vector<TableMistake>& known_table_mistakes() {
  static const std::vector<TableMistake> all = {
      {"channel-pairing",
       "channels 2i and 2i + 1 turn together, where this model turns i and i + half",
       "garbled or repetitive output, of text too",
       {"vllm-project/vllm#49323", "ohdearquant/lattice#96", "xLLM-AI/xllm#2120"}},
      {"section-order",
       "frames, rows and columns have each other's channels",
       "text is right, what is said about pictures is not",
       {}},
      {"channels-interleaved",
       "channels are dealt out to the axes in turn, where this model has groups",
       "text is right, what is said about pictures is not",
       {"mlx-node/mlx-node#80", "vllm-project/vllm-omni#1784"}},
      {"channels-chunked",
       "channels are given to the axes in groups, where this model deals them out in turn",
       "text is right, answers about pictures never end",
       {"alibaba/MNN#4133", "mlx-node/mlx-node#80"}},
      {"one-axis",
       "all channels follow the first row of ids, as if the model had one row",
       "text is right, what is said about pictures is not",
       {"kekzl/imp#1174", "ml-explore/mlx-lm#1768"}},
  };
  return all;
}

TableReport check_tables(const DecoderConfig& config, const at::Tensor& ids, const RecordedTables& tables) {
  const std::vector<int64_t> counts = pair_counts(encoding_for(config, ids));
  if (counts.empty())
    throw InputError("cos and sin: expected a model that rotates, found none of its layers do");
  const PairTables recorded = pair_tables(tables, ids, counts);
  TableReport report;
  report.form = recorded.form;
  // An angle of float32 is off by its own last place, which grows with the id; 16 bits hold cos to 2^-9.
  constexpr double kFloat = 1e-6, kLastPlace = 5e-7, kSixteenBits = 4e-3;
  report.tolerance =
      kFloat + kLastPlace * ids.abs().max().item<double>() + (tables.half_type ? kSixteenBits : 0);
  const at::Tensor own = own_difference(config, ids, recorded);
  report.difference = largest(own);
  const bool pairs_differ = recorded.form == "adjacent" && config.pairing == PairLayout::kHalfSplit;
  if (pairs_differ) report.looks_like = table_mistake("channel-pairing");
  report.equal = report.difference <= report.tolerance && !pairs_differ;
  if (report.equal) return report;
  if (report.difference > report.tolerance) {
    const at::Tensor beyond = own.amax(0).gt(report.tolerance).contiguous();
    const auto* flags = beyond.const_data_ptr<bool>();
    const int64_t first = std::find(flags, flags + beyond.numel(), true) - flags;
    const int64_t pairs = own.size(3), tokens = own.size(2);
    report.channel = first % pairs;
    report.token = first / pairs % tokens;
    report.row = first / pairs / tokens;
    if (config.rope_axes && recorded.cos.size(0) == 1) find_divisions(config, ids, recorded, report);
  }
  return report;
}

}  // namespace ropescope
