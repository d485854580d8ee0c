//! Owns what a trial says when it refuses an import: what is wrong, what was found and expected, what to do.

use std::path::Path;

use super::Foreign;
use super::compare::{Company, Difference};
use crate::error::{Error, Kind, Result};

/// A cosine that is shown as 1 says nothing.
const NEARLY: f64 = 0.99995;

/// What every refusal names.
pub(super) struct Refusals<'r> {
    pub source: &'r Path,
    pub directory: &'r Path,
    pub foreign: Option<&'r Foreign>,
    /// Of ONNX Runtime.
    pub version: &'r str,
}

impl Refusals<'_> {
    fn refusal(&self, message: &str) -> Error {
        Error::new(Kind::Model, message).at(self.source)
    }

    /// Advice for whom a network was exported wrongly, or whose checkpoint is broken.
    fn remedy(&self, of_graph: &str) -> String {
        match self.foreign {
            Some(_) => format!("{of_graph}, or import the model's directory with model.safetensors"),
            None => "check that config.json, the weights and tokenizer.json are of one model and complete"
                .to_owned(),
        }
    }

    /// What ONNX Runtime says, without the name of a directory that nobody knows.
    fn cause(&self, error: &Error) -> String {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let cause = cause.to_string().replace(&format!("{}/", self.directory.display()), "");
        plain(&cause).trim().to_owned()
    }

    /// Advice for a graph that pools its token states itself, in a way that cannot be kept.
    fn other_output(&self) -> String {
        match self.foreign.and_then(|foreign| foreign.encoder.states()) {
            Some(states) => format!(
                "its output {states:?} is pooled here if you say --pooling mean or --pooling cls, whichever the model is made for"
            ),
            None => self.remedy(
                "export it with its token states as the output (last_hidden_state), which are pooled here",
            ),
        }
    }

    pub(super) fn cannot_load(&self, error: &Error) -> Error {
        let refused = self.refusal("ONNX Runtime cannot load the graph").because(self.cause(error));
        let Some(foreign) = self.foreign else { return refused.help(self.remedy("")) };
        refused
            .found(foreign.encoder.needs())
            .expected(format!("what ONNX Runtime {} knows", self.version))
            .help(self.remedy(
                "download the file again if it may be damaged; export it with an older opset and without operators of its own; \
                 for a newer ONNX Runtime say --onnxruntime PATH",
            ))
    }

    pub(super) fn does_not_run(&self, error: &Error) -> Error {
        self.refusal("the network cannot run a text")
            .because(self.cause(error))
            .help(self.remedy("export the encoder again with batch and sequence as dynamic axes"))
    }

    pub(super) fn one_text_at_a_time(&self, error: &Error) -> Error {
        self.refusal("the network cannot run two texts together")
            .found("a graph for batches of one")
            .expected("batches of any size")
            .because(self.cause(error))
            .help(self.remedy("export the encoder again with the batch as a dynamic axis"))
    }

    pub(super) fn unknown_id(&self, largest: u32, known: usize, error: &Error) -> Error {
        self.refusal("the tokenizer has token ids that the network does not know")
            .found(format!("ids up to {largest}"))
            .expected(format!("ids up to {known}, the last that runs"))
            .because(self.cause(error))
            .help("take tokenizer.json from the same place as the weights, or say --tokenizer FILE")
    }

    pub(super) fn too_long(&self, promised: usize, longest: usize, error: &Error) -> Error {
        self.refusal("the network cannot run texts as long as they may be")
            .found(format!("{longest} tokens, the most that run"))
            .expected(format!("{promised}, the maximum length"))
            .because(self.cause(error))
            .help(format!("say --max-length {longest}"))
    }

    pub(super) fn other_shape(&self, foreign: &Foreign, found: &[usize], expected: &[usize]) -> Error {
        let pooled = foreign.encoder.output().pooled;
        let wanted = if pooled { "[batch, width]" } else { "[batch, sequence, hidden]" };
        self.refusal("the graph's output does not have the shape that it declares")
            .tensor(&foreign.encoder.output().name)
            .found(format!("{found:?}"))
            .expected(format!("{expected:?}, that is {wanted}"))
            .help(self.remedy("export the encoder again with the shape that its output really has"))
    }

    pub(super) fn scaled(&self, foreign: &Foreign) -> Error {
        Error::new(
            Kind::Usage,
            "--normalize false changes nothing: the graph scales its embeddings to length 1 itself",
        )
        .at(self.source)
        .tensor(&foreign.encoder.output().name)
        .help("leave --normalize away, or export the encoder without its normalisation")
    }

    pub(super) fn other_graph(&self, name: &str) -> Error {
        self.refusal("two graphs of one network give a text different numbers; this is a bug").found(name)
    }

    /// # Errors
    /// A number is not finite.
    pub(super) fn check_finite(&self, numbers: &[f32], what: &str) -> Result<()> {
        let Some(number) = numbers.iter().find(|number| !number.is_finite()) else { return Ok(()) };
        let help = match self.foreign {
            Some(_) => {
                "export the encoder in fp32 and check its outputs, or import the model's directory with model.safetensors"
            }
            None => {
                "the checkpoint is damaged, its training diverged, or its numbers overflow 32-bit floats: use another one"
            }
        };
        Err(self
            .refusal("the network gives numbers that are not finite")
            .found(format!("{number} for {what}"))
            .expected("finite numbers")
            .help(help))
    }

    pub(super) fn other_every_time(&self) -> Error {
        self.refusal("the network gives different numbers for the same text each time")
            .found("two runs of one text alone that differ")
            .expected("the same numbers to the last bit")
            .because("something in it is drawn at random, as in training: Dropout, RandomNormal or the like")
            .help(self.remedy("export the encoder again in evaluation mode (model.eval())"))
    }

    pub(super) fn other_bits(&self, difference: Difference) -> Error {
        let Difference { company, texts, cosine, share } = difference;
        let beside = match company {
            Company::Batch => format!("in a batch of {texts}"),
            Company::Padding => "padded further".to_owned(),
            Company::Longer => "beside a longer one".to_owned(),
        };
        let found = if cosine < NEARLY {
            format!("a cosine of {cosine:.4} between a text alone and the same text {beside}")
        } else {
            format!(
                "numbers that differ by up to {share:.0e} of the largest between a text alone and the same text {beside}"
            )
        };
        let quantised = self.foreign.and_then(|foreign| foreign.encoder.quantises_batches());
        let (why, help) = match quantised {
            Some(operator) => (
                format!("it is quantised dynamically ({operator}): one scale is taken from all texts of a batch"),
                "import the model's directory with model.safetensors and let `frosthead bundle --precision int8` quantise it, or \
                 import its fp32 export"
                    .to_owned(),
            ),
            None if difference.is_rounding() => (
                "it adds its numbers in an order that depends on the batch, mostly in a pooling of its own".to_owned(),
                self.other_output(),
            ),
            None if company == Company::Batch => (
                "it mixes the texts of a batch".to_owned(),
                self.remedy("export the encoder with the batch as a dynamic axis"),
            ),
            None => (
                "it counts padding as text: the attention mask is left out of something, such as its pooling".to_owned(),
                format!("export the encoder again, traced with a mask that has zeros; {}", self.other_output()),
            ),
        };
        self.refusal("a text's embedding depends on what it is run with")
            .found(found)
            .expected("the same numbers to the last bit")
            .because(why)
            .help(help)
    }
}

/// What ONNX Runtime says, without the line and the function of its source that said it.
fn plain(cause: &str) -> &str {
    let cause = cause.rsplit_once("Status Message: ").map_or(cause, |(_, message)| message);
    if !cause.starts_with('/') {
        return cause;
    }
    let mut depth = 0;
    for (place, letter) in cause.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth == 1 => return &cause[place + 1..],
            ')' => depth -= 1,
            _ => {}
        }
    }
    cause
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn the_source_of_onnx_runtime_is_left_out_of_what_it_says() {
        assert_eq!(plain("indices element out of data bounds"), "indices element out of data bounds");
        let cause = "running Add node. Name:'x' Status Message: /src/a.h:583 void a::B::C(int, f(*)(int)) axis == 1 (or not)";
        assert_eq!(plain(cause), " axis == 1 (or not)");
        assert_eq!(plain("/src/model.cc:256 something else"), "/src/model.cc:256 something else");
    }
}
