// A LLaVA-NeXT model folder that tokenizes and sees, and conversations for it.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

/// Into the folder `path`, which is made: the weights of vision/llava-next-tiny-clip-llama with a vocabulary
/// of 704, and the tokenizer of vision/conversations/llama-tiny.
void write_tiny_llava(const std::string& path);
/// The same below `folder`/llava, whose path is returned.
std::string make_tiny_llava(const TemporaryFolder& folder);

/// Where synthetic_images() lie.
std::string synthetic_folder();
/// The path of a file there.
std::string synthetic_image(const std::string& name);
/// Small pictures of many shapes.
std::vector<std::string> synthetic_images();

/// A row in LLaVA's form; without images it is text alone.
Json conversation_row(const std::string& id, const std::vector<std::string>& images,
                      const std::string& question, const std::string& answer);

/// `rows` rows: every fourth is text alone, every fifth has two images. Written to `folder`/data.json, whose
/// path is returned.
std::string make_conversations(const TemporaryFolder& folder, int rows);

}  // namespace ropescope::testing
