#include "attention/attention_input.h"

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/text/corpus.h"

#include "attention/attention_pictures.h"
#include "inputs/loaded_model.h"
#include "inputs/model_folder.h"
#include "inputs/question.h"
#include "trace/trace_tokens.h"

namespace ropescope::app::attention {

namespace {

constexpr const char* kQuestion = "What is shown in this image?";
constexpr const char* kPreset = "llava-next-clip";

std::string base_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

AttentionInputs text_inputs(const InputFlags& flags, const Tokenizer& tokenizer) {
  const PromptTemplate chat(parse_chat_template(flags.chat.chat_template.value_or("none")));
  const std::vector<int64_t> ids = chat.ask(tokenizer, flags.question(), flags.chat.system).ids;
  if (ids.empty()) throw UsageError("--prompt: expected at least one token, found none");
  warn_of_marks(*flags.model, at::tensor(ids, at::kLong));
  return {1, [ids](int64_t) {
            AttentionInput input;
            input.name = "prompt";
            input.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
            input.layout = parse_layout(fmt::format("text:{}", ids.size()));
            take_last_text_as_question(input);
            return input;
          }};
}

}  // namespace

void InputFlags::bind(Flags& flags) {
  flags.group("Input");
  flags.add("model", model, "checkpoint: a folder in Hugging Face form, or a .gguf file")
      .stands_for(opened_model);
  flags
      .add(
          "decoder", decoder,
          "in place of --model: a language model that sees patches of the image through a fixed random projection (untrained: only effects of position may be read from it)")
      .stands_for(opened_model);
  flags
      .add(
          "prompt", prompt,
          "the question; <image> says where the image stands, in front unless given; each image is an input of its own unless there are several <image>")
      .shown_default(kQuestion);
  chat.bind(flags, "; without images: none");
  flags.add(
      "tokens", tokens,
      "JSON file: {\"input_ids\":[[...],...], \"attention_mask\":...}, in place of --prompt; each row is an input");
  layout.bind(
      flags,
      "what the tokens are, for example text:5,anyres:24x24+48x48,text:7; with --decoder alone its text runs are filled with the prompt");
  flags.add("preset", preset, "--decoder: llava-next-clip or llava-next-siglip, how the image is cut")
      .shown_default(kPreset);
  images.bind(flags);
}

std::string InputFlags::question() const { return prompt.value_or(kQuestion); }

std::string InputFlags::preset_name() const { return preset.value_or(kPreset); }

void InputFlags::add_inputs(Provenance& provenance) const {
  images.add_inputs(provenance);
  if (tokens) provenance.add_input(*tokens);
  if (layout.layout_file) provenance.add_input(*layout.layout_file);
}

AttentionInputs token_inputs(const InputFlags& flags, const Decoder& decoder) {
  const std::string path = *flags.tokens;
  const TraceTokens tokens = parse_trace_tokens(read_json_file(path), decoder.config.vocab_size, path);
  warn_of_marks(*flags.model, tokens.input_ids);
  if (tokens.position_ids.defined()) {
    throw UsageError("{}: expected no position_ids, since --schemes says where tokens sit", path);
  }
  const int64_t length = tokens.input_ids.size(1);
  const Layout layout = flags.layout.read().value_or(parse_layout(fmt::format("text:{}", length)));
  if (layout.tokens() != length) {
    throw UsageError("--layout: expected a layout of the {} tokens of {}, found {} ({})", length, path,
                     layout.tokens(), layout_text(layout));
  }
  return {tokens.input_ids.size(0), [tokens, layout, path](int64_t i) {
            AttentionInput input;
            input.name = fmt::format("{} row {}", base_name(path), i);
            input.input_ids = tokens.input_ids.narrow(0, i, 1);
            if (tokens.attention_mask.defined()) input.attention_mask = tokens.attention_mask.narrow(0, i, 1);
            input.layout = layout;
            take_last_text_as_question(input);
            return input;
          }};
}

QuestionPrompt question_prompt(const InputFlags& flags, const DecoderConfig& config,
                               const Tokenizer& tokenizer, size_t images) {
  const PromptTemplate chat = flags.chat.chosen(*flags.decoder, ModelKind::kDecoder, config, tokenizer);
  const std::string question = with_media_in_front(flags.question(), 1);
  QuestionPrompt prompt;
  prompt.images = static_cast<size_t>(count_images(question));
  if (images == 0 || images % prompt.images != 0) {
    throw UsageError("--prompt: names {} images, which do not divide the {} of --image", prompt.images,
                     images);
  }
  prompt.ids =
      chat.ask(tokenizer, question, flags.chat.system, AskedImages{count_images(question), {}, {}, 0, {}})
          .ids;
  return prompt;
}

Distractor read_distractor(const std::string& corpus, const Tokenizer& tokenizer, int64_t tokens) {
  Distractor read;
  std::vector<int64_t>& ids = read.ids;
  read.files = visit_documents(corpus, CorpusForm::kAuto, [&](const Document& document) {
    const std::vector<int64_t> words =
        tokenizer.encode(document.text + "\n\n", {/*add_special=*/false, false});
    ids.insert(ids.end(), words.begin(), words.end());
    return static_cast<int64_t>(ids.size()) < tokens;
  });
  if (static_cast<int64_t>(ids.size()) < tokens) {
    throw InputError("{}: expected at least {} tokens of text (the greatest of --text-lengths), found {}",
                     corpus, tokens, ids.size());
  }
  return read;
}

AttentionSource read_attention_source(const InputFlags& flags, const CommonSettings& settings,
                                      bool generates) {
  if (flags.model.has_value() == flags.decoder.has_value()) {
    throw UsageError("expected one of --model and --decoder; see --help");
  }
  if (flags.tokens && flags.prompt) {
    throw UsageError("--tokens and --prompt: expected only one of the two");
  }
  const bool patches = flags.decoder.has_value();
  const std::string model = patches ? *flags.decoder : *flags.model;
  if (!patches && flags.images.given()) return read_media_source(flags, settings, generates);
  if (patches && flags.images.pixels) throw UsageError("--pixels: expected --model, whose tower reads them");
  if (patches && !flags.images.video.empty())
    throw UsageError("--video: expected --model, whose tower sees clips");
  AttentionSource source;
  source.model = model;
  const auto loaded = std::make_shared<LoadedModel>(model, read_decoder_config(model), std::nullopt,
                                                    load_options(settings, generates));
  source.decoder = std::shared_ptr<const Decoder>(loaded, &loaded->decoder());
  source.add_files = [loaded](Provenance& provenance) { loaded->add_inputs(provenance); };
  if (patches) {
    source.inputs = patch_inputs(flags, settings.seed, source.decoder);
  } else if (flags.tokens) {
    source.inputs = token_inputs(flags, *source.decoder);
  } else {
    if (flags.layout.given()) throw UsageError("--layout: expected --tokens, or --decoder, which fills it");
    source.inputs = text_inputs(flags, *load_tokenizer(model));
  }
  return source;
}

}  // namespace ropescope::app::attention
