// SHA-256 of a tensor's bytes, as the golden files give it.
#pragma once

#include <string>

#include <fmt/format.h>
#include <openssl/sha.h>

#include <ATen/core/Tensor.h>

namespace ropescope::testing {

inline std::string digest(const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  unsigned char hash[SHA256_DIGEST_LENGTH];
  SHA256(static_cast<const unsigned char*>(values.const_data_ptr()), values.nbytes(), hash);
  std::string text;
  for (const unsigned char byte : hash) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace ropescope::testing
