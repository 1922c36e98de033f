// ropescope trace: what one forward pass computes, tensor by tensor.
#include <algorithm>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/generate.h"
#include "ropescope/text/generated_text.h"

#include "command.h"
#include "inputs/image_input.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"
#include "trace/trace_flags.h"
#include "trace/trace_output.h"
#include "trace/trace_scheme.h"
#include "trace/trace_tensors.h"
#include "trace/trace_tokens.h"
#include "trace/trace_vision.h"

namespace ropescope::app {

namespace trace {

void TraceFlags::bind(Flags& flags) {
  flags.group("Input");
  flags.add("model", model, "checkpoint: a folder in Hugging Face form, or a .gguf file")
      .stands_for(opened_model);
  flags.add(
      "text", text,
      "one text, tokenized with the model's tokenizer; <image> (or the model's own mark) stands for an image, <video> for a clip");
  flags.add(
      "tokens", tokens,
      "JSON file: {\"input_ids\":[[...],...], \"attention_mask\":..., \"position_ids\":...}; position ids are [batch,tokens] or [axes,batch,tokens], any numbers; the mask is causal by token order");
  flags.add("tensors", tensors,
            "in place of a model: safetensors file with q [heads,tokens,dim], k and perhaps v");
  flags.add("pairing", pairing, "channel pairs of --tensors: half (i, i + dim/2) or adjacent (2i, 2i + 1)")
      .one_of({"half", "adjacent"})
      .shown_default("half");
  images.bind(flags);
  flags.group("Rotation");
  rope.bind(flags);
  flags.group("Scheme");
  under.bind(flags);
  flags.group("Output");
  flags
      .add(
          "dump", dump,
          "list of logits,hidden,q,k,q_rotated,k_rotated,attention,inputs_embeds, with pictures image_features,video_features,deepstack,vision_hidden (--tensors: all that it has; a vision tower alone: vision_hidden,vision_attention,vision_feature)")
      .shown_default("logits");
  flags.add("layers", layers, "layers of q, k and attention, for example 0-3,31; all");
  flags.add("generate", new_tokens, "also continue greedily by N tokens; an end token is no end").at_least(1);
  flags.add("output", output, "result file, for example trace.h5").required();
}

namespace {

// The row of every axis when all axes agree; without a scheme, and of a model without axes of its own, nothing says which
// channels follow which axis.
at::Tensor own_axes(const DecoderConfig& config, const at::Tensor& position_ids) {
  if (config.rope_axes && position_ids.size(0) == 3) return position_ids;
  const at::Tensor first = position_ids.narrow(0, 0, 1);
  if (!position_ids.eq(first).all().item<bool>()) {
    throw InputError(
        "position_ids: the {} axes differ, and nothing says which channels follow which axis; give "
        "--scheme, or [batch, tokens]",
        position_ids.size(0));
  }
  return first;
}

struct TraceRequest {
  std::set<std::string> wanted;
  std::vector<bool> layers;
  bool shows(const char* name) const { return wanted.count(name) > 0; }
};

Taps make_taps(const TraceRequest& request, int64_t tokens, TraceOutput& output) {
  Taps taps;
  taps.wants_layer = [&request](int64_t layer) { return request.layers[static_cast<size_t>(layer)]; };
  if (request.shows("hidden") || request.shows("inputs_embeds")) {
    taps.hidden = [&request, &output](int64_t depth, const at::Tensor& hidden) {
      if (depth == 0 && request.shows("inputs_embeds")) output.write("inputs_embeds", hidden);
      if (request.shows("hidden")) output.write(fmt::format("hidden/{}", depth), hidden);
    };
  }
  const auto pair_writer = [&request, &output](const char* q_name, const char* k_name) {
    return [&request, &output, q_name, k_name](int64_t layer, const at::Tensor& q, const at::Tensor& k) {
      if (request.shows(q_name)) output.write(fmt::format("{}/{}", q_name, layer), q);
      if (request.shows(k_name) && k.defined()) output.write(fmt::format("{}/{}", k_name, layer), k);
    };
  };
  if (request.shows("q") || request.shows("k")) taps.qk = pair_writer("q", "k");
  if (request.shows("q_rotated") || request.shows("k_rotated")) {
    taps.qk_rotated = pair_writer("q_rotated", "k_rotated");
  }
  if (request.shows("q_rotated")) {
    taps.q_anchored = [&output](int64_t layer, const at::Tensor& q) {
      output.write(fmt::format("q_anchored/{}", layer), q);
    };
  }
  if (request.shows("attention")) {
    std::vector<int64_t> queries(static_cast<size_t>(tokens));
    std::iota(queries.begin(), queries.end(), 0);
    taps.attention = AttentionRows{queries, [&output](int64_t layer, const at::Tensor& rows) {
                                     output.write(fmt::format("attention/{}", layer), rows);
                                   }};
  }
  return taps;
}

void trace_pass(const Decoder& decoder, const TraceTokens& tokens, const MediaEmbeddings& media,
                const at::Tensor& position_ids, const TraceEncoding& encoding, const TraceRequest& request,
                TraceOutput& output) {
  ForwardInput input;
  input.input_ids = tokens.input_ids;
  media.give(input);
  input.attention_mask = tokens.attention_mask;
  PassEncoding own;
  if (!encoding.prompt) own = encoding_for(decoder.config, own_axes(decoder.config, position_ids));
  input.encoding = encoding.prompt ? &*encoding.prompt : &own;
  ForwardOptions forward_options;
  forward_options.logits =
      request.shows("logits") ? ForwardOptions::Logits::kAll : ForwardOptions::Logits::kNone;
  forward_options.final_hidden = request.shows("hidden");
  if (!request.shows("logits") && !request.shows("hidden")) {
    const bool rows = request.shows("attention");
    const bool pairs =
        request.shows("q") || request.shows("k") || request.shows("q_rotated") || request.shows("k_rotated");
    int64_t& stop = rows ? forward_options.stop_after_rows_of_layer : forward_options.stop_after_qk_of_layer;
    stop = 0;
    for (size_t l = 0; (rows || pairs) && l < request.layers.size(); ++l) {
      if (request.layers[l]) stop = static_cast<int64_t>(l);
    }
  }
  const ForwardOutput result =
      forward(decoder, input, forward_options, make_taps(request, tokens.input_ids.size(1), output));
  if (result.final_hidden.defined()) output.write("final_hidden", result.final_hidden);
  if (result.logits.defined()) output.write("logits", result.logits);
}

at::Tensor continue_prompt(const Decoder& decoder, const TraceTokens& tokens, const MediaEmbeddings& media,
                           const TraceEncoding& encoding, int64_t count) {
  GenerateInput input;
  input.input_ids = tokens.input_ids;
  media.give(input);
  input.attention_mask = tokens.attention_mask;
  if (encoding.sequence) {
    input.encoding = &*encoding.sequence;
  } else if (encoding.prompt) {
    throw UsageError("--generate: expected --layout, since position ids alone do not say where text goes on");
  } else if (tokens.position_ids.defined()) {
    input.position_ids = own_axes(decoder.config, tokens.position_ids);
  }
  GenerateOptions generate_options;
  generate_options.max_new_tokens = count;
  generate_options.ignore_end = true;
  return ropescope::generate(decoder, input, generate_options).ids;
}

std::vector<std::string> decode_rows(const Tokenizer* tokenizer, const at::Tensor& ids) {
  std::vector<std::string> rows;
  for (int64_t row = 0; tokenizer != nullptr && ids.defined() && row < ids.size(0); ++row) {
    const at::Tensor own = ids[row].to(at::kCPU, at::kLong).contiguous();
    rows.push_back(decode_generated(*tokenizer,
                                    {own.const_data_ptr<int64_t>(), static_cast<size_t>(own.numel())},
                                    /*skip_special=*/false));
  }
  return rows;
}

int run(const TraceFlags& given, const Invocation& invocation) {
  const CommonSettings& settings = invocation.settings;
  if (given.tensors) return run_trace_tensors(given, invocation);
  TraceFlags flags = given;
  if (flags.pairing) {
    throw UsageError("--pairing belongs to --tensors; a checkpoint's own layout is known");
  }
  const std::string& model = required_text(flags.model, "model");
  if (model_kind(model) == ModelKind::kVisionTower) return run_trace_tower(flags, invocation);
  default_to_own_scheme(flags.under.scheme, model);
  DecoderConfig config = read_decoder_config(model);
  override_ropes(config, flags.rope);
  const TraceRequest request{parse_dump(flags.dump.value_or("logits")),
                             chosen_layers(flags.layers, config.num_hidden_layers)};
  for (const char* name : {"q", "k", "q_rotated", "k_rotated", "attention"}) {
    if (request.shows(name)) require_qk(config, flags.layers);
  }
  TracePrompt prompt = read_trace_prompt(flags, config);
  check_dump(request.wanted, prompt.vlm ? Traced::kVlm : Traced::kDecoder);
  TraceTokens& tokens = prompt.tokens;
  // The checkpoint's own ids, unless they were given or a scheme makes them.
  if (prompt.vlm && !flags.under.scheme && !tokens.position_ids.defined()) {
    tokens.position_ids = own_position_ids(config, prompt.expanded);
  }

  const at::NoGradGuard no_grad;
  const LoadedModel loaded(model, config, prompt.vlm,
                           load_options(settings, request.shows("logits") || flags.new_tokens),
                           /*whole_tower=*/request.shows("vision_hidden"));
  const Decoder& decoder = loaded.decoder();

  Provenance provenance = invocation.provenance();
  loaded.add_inputs(provenance);
  flags.images.add_inputs(provenance);
  if (flags.tokens) provenance.add_input(*flags.tokens);
  TraceOutput output(flags.output, provenance, settings.force);
  const int64_t batch = tokens.input_ids.size(0), length = tokens.input_ids.size(1);
  const TraceEncoding encoding = trace_encoding(
      flags.under, encoded_model(config), length, tokens.position_ids,
      flags.under.scheme ? layout_of_images(prompt, Scheme(*flags.under.scheme)) : std::nullopt);
  at::Tensor position_ids = encoding.position_ids.defined() ? encoding.position_ids : tokens.position_ids;
  if (!position_ids.defined()) position_ids = at::arange(length, at::kDouble).view({1, 1, length});
  position_ids = position_ids.expand({position_ids.size(0), batch, length}).contiguous();
  output.write("input_ids", tokens.input_ids);
  if (tokens.attention_mask.defined()) output.write("attention_mask", tokens.attention_mask);
  output.write("position_ids", position_ids);
  if (flags.under.scheme) output.attribute("scheme", *flags.under.scheme);
  if (const Json clips = clips_of(prompt.media); !clips.empty()) output.attribute("clips", clips.dump());
  output.attribute("rope_theta", config.rope().theta);
  output.attribute("rope_type", rope_type_name(config.rope().type));
  output.attribute("attention_rows", "float32 softmax beside the fused kernel that made the hidden states");
  MediaEmbeddings media;
  if (prompt.vlm) media = trace_media(prompt, loaded.vlm(), request.wanted, output);
  trace_pass(decoder, tokens, media, position_ids, encoding, request, output);
  at::Tensor generated;
  if (flags.new_tokens) {
    generated = continue_prompt(decoder, tokens, media, encoding, *flags.new_tokens);
    output.write("generated", generated);
  }
  output.finish(settings.json, settings.csv, generated, decode_rows(prompt.tokenizer.get(), generated));
  return 0;
}

}  // namespace

}  // namespace trace

extern const Command kTrace;
const Command kTrace = make_command<trace::TraceFlags>(
    "trace", "Runs one forward pass and writes logits, hidden states, q, k and attention to a file.",
    "ropescope trace --model SmolLM2.gguf --text \"Rotary encodings turn\" --dump logits,q,k --layers 0,15 --generate 8 --output trace.h5",
    kRunsModel | kStreams | kWrites | kTables, trace::run);

}  // namespace ropescope::app
