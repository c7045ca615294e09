#pragma once
// A config struct lists its fields once; reading, the resolved print-out and the option reference all come from
// that list.
//
//   struct HyenaConfig {
//     int64_t order = 2;
//     void fields(config::Fields& f) {
//       f.field("order", order, "number of gated products; order - 1 long convolutions", at_least(2));
//     }
//   };

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"

namespace mara::config {

template <class... T>
using RefTo = std::variant<std::reference_wrapper<T>...>;
/// Values a field may hold. Integers are int64_t and reals double everywhere in configs.
using Ref =
    RefTo<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

/// What a value must satisfy beyond its type. Applied to every element of a list.
struct Check {
  std::string requirement;  // "at least 2"; empty: anything goes
  std::function<bool(double)> number;
  std::vector<std::string> choices;  // for strings
};
Check at_least(double low);
Check above(double low);
Check between(double low, double high);  // both included
Check odd_at_least(int64_t low);
Check one_of(std::vector<std::string> choices);

class Fields {
 public:
  virtual ~Fields() = default;

  /// An optional key with the value it has now as its default.
  void field(const char* key, Ref value, const char* help, const Check& check = {}) {
    visit({key, help, check, false}, value);
  }
  /// A key that every recipe must give.
  void required(const char* key, Ref value, const char* help, const Check& check = {}) {
    visit({key, help, check, true}, value);
  }
  /// A nested mapping, bound by the struct's own fields(). Absent: all defaults (its required keys must be there).
  template <class S>
  void group(const char* key, S& nested, const char* help) {
    enter(key, help);
    nested.fields(*this);
    leave();
  }
  /// The same with keys listed by a function, where they depend on what is around them.
  template <std::invocable Bind>
  void group(const char* key, Bind&& bind, const char* help) {
    enter(key, help);
    bind();
    leave();
  }
  /// A nested mapping that may be left out: std::nullopt then. `setup`: what its fields() needs besides.
  template <class S, class... Setup>
  void optional_group(const char* key, std::optional<S>& nested, const char* help, const Setup&... setup) {
    if (!enter_optional(key, help, nested.has_value())) return nested.reset();
    if (!nested) nested.emplace();
    nested->fields(*this, setup...);
    leave();
  }
  /// A required string that decides which further keys stand beside it: bind(name) must list those. It is called
  /// once when reading and printing, with the name chosen, and once per name when listing options.
  virtual void kind(const char* key, std::string& value, const std::vector<std::string>& names, const char* help,
                    const std::function<void(const std::string& name)>& bind) = 0;
  /// A rule between fields; call after the fields it speaks of. When reading, a violation is an error at `key`'s
  /// line: "key: requirement".
  virtual void require(bool holds, const char* key, const std::string& requirement) = 0;

 protected:
  struct Info {
    const char* key;
    const char* help;
    const Check& check;
    bool required = false;
  };
  virtual void visit(const Info& info, Ref value) = 0;
  virtual void enter(const char* key, const char* help) = 0;
  /// False where the mapping is left out; otherwise the same as enter.
  virtual bool enter_optional(const char* key, const char* help, bool present) = 0;
  virtual void leave() = 0;
};

/// A parsed YAML file. Only plain mappings, lists and scalars: aliases, anchors, merge keys, tags, duplicate keys
/// and several documents are refused with file and line.
class Document {
 public:
  static Document load(const std::string& path);
  static Document parse(const std::string& text, const std::string& name);
  ~Document();
  Document(Document&&) noexcept;
  Document& operator=(Document&&) noexcept;

  /// "a.b.c=value": the value is YAML; missing mappings are made. Errors about it name "--set a.b.c=value".
  void set(const std::string& assignment);

  /// Binds the whole document. Throws Error naming file, line, full key and, for an unknown key, the nearest valid one.
  template <class S>
  void read(S& config) const {
    read_with([&](Fields& f) { config.fields(f); });
  }

 private:
  struct Impl;
  explicit Document(std::unique_ptr<Impl> impl);
  void read_with(const std::function<void(Fields&)>& bind) const;
  std::unique_ptr<Impl> impl_;
};

std::string print_with(const std::function<void(Fields&)>& bind);

/// The config as YAML that reads back to the same values: every key, defaults included, in the order of fields().
template <class S>
std::string to_yaml(const S& config) {
  S copy = config;
  return print_with([&](Fields& f) { copy.fields(f); });
}

/// A field of a config: full key ("model.mixer.order") and value as YAML.
struct KeyValue {
  std::string key, value;
};
std::vector<KeyValue> values_with(const std::function<void(Fields&)>& bind);

/// Every field of a config as it is, in the order of fields(): to compare two.
template <class S>
std::vector<KeyValue> values(const S& config) {
  S copy = config;
  return values_with([&](Fields& f) { copy.fields(f); });
}

/// One line of the reference: full key, type, default (or "required"), requirement, meaning. Kinds appear in turn.
struct Option {
  std::string key;          // "model.mixer.order"; for a kind's own keys "model.mixer(hyena).order"
  std::string type;         // "integer", "number", "boolean", "text", "list of numbers", "texts", "mapping", ...
  std::string value;        // default, "" where required
  std::string requirement;  // "at least 2"
  std::string help;
  bool required = false;
};
std::vector<Option> options_with(const std::function<void(Fields&)>& bind);

template <class S>
std::vector<Option> options() {
  S defaults;
  return options_with([&](Fields& f) { defaults.fields(f); });
}

}  // namespace mara::config
