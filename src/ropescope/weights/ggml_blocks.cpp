#include "ropescope/weights/ggml_blocks.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include <c10/util/Half.h>

namespace ropescope {

namespace {

// Blocks lie anywhere in a file, so everything is read byte by byte; constant trip counts without branches
// let the compiler vectorise the loops.

using Byte = uint8_t;

uint16_t read_u16(const Byte* bytes) {
  return static_cast<uint16_t>(bytes[0] | (static_cast<uint16_t>(bytes[1]) << 8));
}

float read_half(const Byte* bytes) { return c10::detail::fp16_ieee_to_fp32_value(read_u16(bytes)); }

/// Calls block(source, target) for each block of kNumbers numbers stored in kBytes bytes.
template <int64_t kNumbers, int64_t kBytes, void (*block)(const Byte*, float*)>
void decode_blocks(const std::byte* source, float* target, int64_t count) {
  const Byte* bytes = reinterpret_cast<const Byte*>(source);
  for (int64_t i = 0; i < count / kNumbers; ++i) block(bytes + i * kBytes, target + i * kNumbers);
}

// The simple types: 32 numbers, the first 16 in the low nibbles, the rest in the high ones.

constexpr int kHalf = 16;

void block_q4_0(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const Byte* quants = block + 2;
  for (int i = 0; i < kHalf; ++i) {
    target[i] = d * static_cast<float>((quants[i] & 15) - 8);
    target[i + kHalf] = d * static_cast<float>((quants[i] >> 4) - 8);
  }
}

void block_q4_1(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const float m = read_half(block + 2);
  const Byte* quants = block + 4;
  for (int i = 0; i < kHalf; ++i) {
    target[i] = d * static_cast<float>(quants[i] & 15) + m;
    target[i + kHalf] = d * static_cast<float>(quants[i] >> 4) + m;
  }
}

/// The fifth bits of number i (low nibble) and number i + 16 (high nibble).
int fifth_bit(uint32_t bits, int i) { return static_cast<int>((bits >> i) & 1U) << 4; }

uint32_t read_u32(const Byte* bytes) {
  return read_u16(bytes) | (static_cast<uint32_t>(read_u16(bytes + 2)) << 16);
}

void block_q5_0(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const uint32_t high = read_u32(block + 2);
  const Byte* quants = block + 6;
  for (int i = 0; i < kHalf; ++i) {
    target[i] = d * static_cast<float>(((quants[i] & 15) | fifth_bit(high, i)) - 16);
    target[i + kHalf] = d * static_cast<float>(((quants[i] >> 4) | fifth_bit(high, i + kHalf)) - 16);
  }
}

void block_q5_1(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const float m = read_half(block + 2);
  const uint32_t high = read_u32(block + 4);
  const Byte* quants = block + 8;
  for (int i = 0; i < kHalf; ++i) {
    target[i] = d * static_cast<float>((quants[i] & 15) | fifth_bit(high, i)) + m;
    target[i + kHalf] = d * static_cast<float>((quants[i] >> 4) | fifth_bit(high, i + kHalf)) + m;
  }
}

void block_q8_0(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const auto* quants = reinterpret_cast<const int8_t*>(block + 2);
  for (int i = 0; i < 2 * kHalf; ++i) target[i] = d * static_cast<float>(quants[i]);
}

// K types: 256 numbers. Scales are multiplied into d first, then into the number, as the reference does.

constexpr int kQuarter = 32;  // numbers that share a shift

void block_q2_k(const Byte* __restrict block, float* __restrict target) {
  const Byte* scales = block;
  const Byte* quants = block + 16;
  const float d = read_half(block + 80);
  const float d_min = read_half(block + 82);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(scales[group] & 15);
    const float minimum = d_min * static_cast<float>(scales[group] >> 4);
    const Byte* source = quants + (group / 8) * kQuarter + (group % 2) * 16;
    const int shift = (group / 2 % 4) * 2;
    for (int i = 0; i < 16; ++i) {
      target[group * 16 + i] = scale * static_cast<float>((source[i] >> shift) & 3) - minimum;
    }
  }
}

void block_q3_k(const Byte* __restrict block, float* __restrict target) {
  const Byte* high = block;  // bit g of byte i belongs to number 32 g + i; set means "no 4 to subtract"
  const Byte* quants = block + 32;
  const Byte* scales = block + 96;  // sixteen of 6 bits: low nibbles in 8 bytes, upper pairs in 4
  const float d = read_half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low_bits = (scales[group % 8] >> (group / 8 * 4)) & 15;
    const int high_bits = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
    const float scale = d * static_cast<float>((low_bits | (high_bits << 4)) - 32);
    const Byte* source = quants + (group / 8) * kQuarter + (group % 2) * 16;
    const Byte* mask = high + (group % 2) * 16;
    const int shift = (group / 2 % 4) * 2;
    const int bit = group / 2;
    for (int i = 0; i < 16; ++i) {
      const int offset = (((mask[i] >> bit) & 1) ^ 1) << 2;
      target[group * 16 + i] = scale * static_cast<float>(((source[i] >> shift) & 3) - offset);
    }
  }
}

struct ScaleAndMinimum {
  float scale, minimum;
};

/// Q4_K and Q5_K pack eight scales and eight minima of 6 bits into 12 bytes.
ScaleAndMinimum unpack_scale(const Byte* scales, int group, float d, float d_min) {
  int scale = 0;
  int minimum = 0;
  if (group < 4) {
    scale = scales[group] & 63;
    minimum = scales[group + 4] & 63;
  } else {
    scale = (scales[group + 4] & 15) | ((scales[group - 4] >> 2) & 0x30);
    minimum = (scales[group + 4] >> 4) | ((scales[group] >> 2) & 0x30);
  }
  return {d * static_cast<float>(scale), d_min * static_cast<float>(minimum)};
}

void block_q4_k(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const float d_min = read_half(block + 2);
  const Byte* quants = block + 16;
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = unpack_scale(block + 4, group, d, d_min);
    const Byte* source = quants + (group / 2) * kQuarter;
    const int shift = (group % 2) * 4;
    for (int i = 0; i < kQuarter; ++i) {
      target[group * kQuarter + i] = scale * static_cast<float>((source[i] >> shift) & 15) - minimum;
    }
  }
}

void block_q5_k(const Byte* __restrict block, float* __restrict target) {
  const float d = read_half(block);
  const float d_min = read_half(block + 2);
  const Byte* high = block + 16;
  const Byte* quants = block + 48;
  for (int group = 0; group < 8; ++group) {
    const auto [scale, minimum] = unpack_scale(block + 4, group, d, d_min);
    const Byte* source = quants + (group / 2) * kQuarter;
    const int shift = (group % 2) * 4;
    for (int i = 0; i < kQuarter; ++i) {
      const int quant = ((source[i] >> shift) & 15) | (((high[i] >> group) & 1) << 4);
      target[group * kQuarter + i] = scale * static_cast<float>(quant) - minimum;
    }
  }
}

void block_q6_k(const Byte* __restrict block, float* __restrict target) {
  const Byte* low = block;
  const Byte* high = block + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float d = read_half(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float scale = d * static_cast<float>(scales[group]);
    const int part = group / 8;     // of 128 numbers
    const int row = group / 2 % 4;  // of 32 numbers inside it
    const int begin = group % 2 * 16;
    const Byte* low_source = low + part * 64 + (row % 2) * kQuarter + begin;
    const Byte* high_source = high + part * kQuarter + begin;
    const int low_shift = row / 2 * 4;
    const int high_shift = row * 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = ((low_source[i] >> low_shift) & 15) | (((high_source[i] >> high_shift) & 3) << 4);
      target[group * 16 + i] = scale * static_cast<float>(quant - 32);
    }
  }
}

// Four-bit floats (1 sign, 2 exponent, 1 mantissa bit) under a shared scale; the table holds them doubled and
// the scales are halved.

constexpr std::array<float, 16> kDoubledE2m1 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// Half of 2^(byte - 127); the two smallest are subnormal.
float half_e8m0(Byte byte) {
  const uint32_t bits = byte < 2 ? 0x00200000U << byte : static_cast<uint32_t>(byte - 1) << 23;
  return std::bit_cast<float>(bits);
}

/// Half of an E4M3 number (bias 7) without its sign bit; 0x7F stands for 0.
float half_e4m3(Byte byte) {
  if (byte == 0 || byte == 0x7F) return 0;
  const int exponent = (byte >> 3) & 15;
  const auto mantissa = static_cast<float>(byte & 7);
  const float whole =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1.0F + mantissa / 8.0F, exponent - 7);
  return whole * 0.5F;
}

void e2m1_numbers(float scale, const Byte* __restrict quants, int bytes, float* __restrict target) {
  for (int i = 0; i < bytes; ++i) {
    target[i] = scale * kDoubledE2m1[quants[i] & 15];
    target[i + bytes] = scale * kDoubledE2m1[quants[i] >> 4];
  }
}

void block_mxfp4(const Byte* __restrict block, float* __restrict target) {
  e2m1_numbers(half_e8m0(block[0]), block + 1, kHalf, target);
}

void block_nvfp4(const Byte* __restrict block, float* __restrict target) {
  constexpr int kGroups = 4, kBytes = 8;
  for (int group = 0; group < kGroups; ++group) {
    e2m1_numbers(half_e4m3(block[group]), block + kGroups + group * kBytes, kBytes,
                 target + group * 2 * kBytes);
  }
}

// Plain numbers.

void decode_f16(const std::byte* source, float* target, int64_t count) {
  const Byte* bytes = reinterpret_cast<const Byte*>(source);
  for (int64_t i = 0; i < count; ++i) target[i] = read_half(bytes + 2 * i);
}

void decode_bf16(const std::byte* source, float* target, int64_t count) {
  const Byte* bytes = reinterpret_cast<const Byte*>(source);
  for (int64_t i = 0; i < count; ++i) {
    target[i] = std::bit_cast<float>(static_cast<uint32_t>(read_u16(bytes + 2 * i)) << 16);
  }
}

template <typename T>
void decode_plain(const std::byte* source, float* target, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, source + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    target[i] = static_cast<float>(value);
  }
}

struct NumberedType {
  uint32_t number;
  GgmlTypeTraits traits;
};

template <int64_t kNumbers, int64_t kBytes, void (*block)(const Byte*, float*)>
constexpr GgmlTypeTraits quantised(const char* name) {
  return {name, kNumbers, kBytes, &decode_blocks<kNumbers, kBytes, block>, std::nullopt};
}

constexpr GgmlTypeTraits plain(const char* name, int64_t bytes, GgmlDecoder decoder, at::ScalarType type) {
  return {name, 1, bytes, decoder, type};
}

constexpr GgmlTypeTraits unreadable(const char* name, int64_t numbers, int64_t bytes) {
  return {name, numbers, bytes, nullptr, std::nullopt};
}

constexpr std::array<NumberedType, 34> kGgmlTypes = {{
    {0, plain("F32", 4, decode_plain<float>, at::kFloat)},
    {1, plain("F16", 2, decode_f16, at::kHalf)},
    {2, quantised<32, 18, block_q4_0>("Q4_0")},
    {3, quantised<32, 20, block_q4_1>("Q4_1")},
    {6, quantised<32, 22, block_q5_0>("Q5_0")},
    {7, quantised<32, 24, block_q5_1>("Q5_1")},
    {8, quantised<32, 34, block_q8_0>("Q8_0")},
    {9, unreadable("Q8_1", 32, 40)},
    {10, quantised<256, 84, block_q2_k>("Q2_K")},
    {11, quantised<256, 110, block_q3_k>("Q3_K")},
    {12, quantised<256, 144, block_q4_k>("Q4_K")},
    {13, quantised<256, 176, block_q5_k>("Q5_K")},
    {14, quantised<256, 210, block_q6_k>("Q6_K")},
    {15, unreadable("Q8_K", 256, 292)},
    {16, unreadable("IQ2_XXS", 256, 66)},
    {17, unreadable("IQ2_XS", 256, 74)},
    {18, unreadable("IQ3_XXS", 256, 98)},
    {19, unreadable("IQ1_S", 256, 50)},
    {20, unreadable("IQ4_NL", 32, 18)},
    {21, unreadable("IQ3_S", 256, 110)},
    {22, unreadable("IQ2_S", 256, 82)},
    {23, unreadable("IQ4_XS", 256, 136)},
    {24, plain("I8", 1, decode_plain<int8_t>, at::kChar)},
    {25, plain("I16", 2, decode_plain<int16_t>, at::kShort)},
    {26, plain("I32", 4, decode_plain<int32_t>, at::kInt)},
    {27, plain("I64", 8, decode_plain<int64_t>, at::kLong)},
    {28, plain("F64", 8, decode_plain<double>, at::kDouble)},
    {29, unreadable("IQ1_M", 256, 56)},
    {30, plain("BF16", 2, decode_bf16, at::kBFloat16)},
    {34, unreadable("TQ1_0", 256, 54)},
    {35, unreadable("TQ2_0", 256, 66)},
    {39, quantised<32, 17, block_mxfp4>("MXFP4")},
    {40, quantised<64, 36, block_nvfp4>("NVFP4")},
    {41, unreadable("Q1_0", 128, 18)},
}};

}  // namespace

const GgmlTypeTraits* ggml_type_traits(uint32_t type) {
  for (const NumberedType& entry : kGgmlTypes) {
    if (entry.number == type && entry.traits.name != nullptr) return &entry.traits;
  }
  return nullptr;
}

}  // namespace ropescope
