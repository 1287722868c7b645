// Types shared by several modules, for editors and `tsc`. Nothing here runs. Of the server's
// responses, only the parts that the page reads are described.

/**
 * Attributes and listeners of a new element: `class`, `style` as an object of properties, and
 * `onclick` and the like as functions. Null and false are skipped; true makes an empty attribute.
 * @typedef {Record<string, any>} Props
 */

/**
 * The content of an element: nodes, strings and numbers, in arrays nested at most two levels deep.
 * Null and false are skipped.
 * @typedef {any} Child
 */

/** @typedef {[number, number]} Point */
/** @typedef {Point[]} Polygon */

// --- the address

/**
 * New values of address parameters by name. Null removes a parameter.
 * @typedef {Partial<Address>} Changes
 */

/**
 * An image of the run: its iteration and its position in the batch, both counted from 0.
 * @typedef {{ it: number, pos: number }} ImageKey
 */

/** @typedef {ImageKey & { c: number }} ImageOfClass */

/**
 * A moment of the run: the last completed generator step, counted from 0. If `step` is missing or
 * equals the number of steps, it is the end of the iteration.
 * @typedef {{ iteration: number, step?: number }} Moment
 */

/**
 * A selection in the scatter plot: a class, a lasso as text, or a lasso within a class.
 * @typedef {{ selectedClass?: number | null, lasso?: string | null }} ScatterSelection
 */

/**
 * The values of the address parameters, by name (address.js).
 * @typedef {object} Address
 * @property {string} tab The page.
 * @property {string | null} run
 * @property {ImageKey | null} sel The selected image.
 * @property {Moment | null} t Null means live.
 * @property {ScatterSelection} pick
 * @property {'teacher' | 'student'} space
 * @property {2 | 3} dim
 * @property {string} colour What colors the points: `class`, `age`, a loss term…
 * @property {'image' | 'cam'} over
 * @property {'numbers' | 'surface'} as
 * @property {'full' | 'watch' | 'slow'} speed
 * @property {number | null} class
 * @property {string | null} sort Parsed by image_filter.js, which defines the columns.
 * @property {string | null} where Likewise.
 * @property {number | null} step A generator step of the selected image.
 * @property {'numbers' | 'surface'} maps
 * @property {string[]} runs The compared runs.
 * @property {Axis} by
 * @property {number | null} point A position on that axis; null is its end.
 * @property {string | null} lesson
 * @property {string | null} sweep
 * @property {string | null} across A field of the sweep.
 * @property {string | null} down Likewise.
 * @property {string | null} term
 * @property {'light' | 'dark' | null} __theme
 */

/**
 * A parameter of the address. `parse` returns undefined for malformed texts.
 * @template T
 * @typedef {object} Parameter
 * @property {string[]} pages The pages that use it.
 * @property {'keep' | 'unshared' | 'ignore' | 'remove'} elsewhere
 * @property {boolean} [personal]
 * @property {T} defaultValue
 * @property {(text: string) => T | undefined} parse
 * @property {(value: T) => string} format
 */

// --- the snapshot, /kg/live

/**
 * One resolution of the run. Iterations alternate between the resolutions.
 * @typedef {object} Scale
 * @property {number} side Pixels.
 * @property {number} batch Images per iteration.
 * @property {number} h Rows of the teacher's map.
 * @property {number} w Columns of the teacher's map.
 * @property {number[][]} target The key region's target, row by row.
 * @property {number} budget
 */

/**
 * @typedef {object} Recipe
 * @property {number} generator_steps Per iteration.
 * @property {string} teacher
 * @property {number[]} resolutions
 * @property {Record<string, number>} [weights] By the name of the term.
 * @property {number} [journal_pixels]
 */

/**
 * A term of the loss.
 * @typedef {{ name: string, title: string, tip: string, color: string, symbol?: string,
 *   reward?: boolean, per_batch?: boolean, weighted?: boolean, needs?: string[] }} Term
 */

/**
 * A custom term of a run.
 * @typedef {{ name: string, title: string, tip: string, weight: number, color?: string }}
 *   CustomTerm
 */

/**
 * A run's custom loss terms, which are not in the table.
 * @typedef {object} WithCustomTerms
 * @property {CustomTerm[]} [own_terms]
 */

/**
 * A table by columns, one row per report; `at` counts generator steps, `images` those in the pool.
 * @typedef {{ images: number[], at: number[], [column: string]: number[] }} Table
 */

/**
 * The student's tests.
 * @typedef {object} Curve
 * @property {number[]} images
 * @property {number[]} at
 * @property {number[]} accuracy
 * @property {number} n Images per test.
 * @property {number | null} teacher
 * @property {number | null} last
 * @property {string} kind
 * @property {boolean} final
 */

/**
 * A piece of a sentence: a text, or a class.
 * @typedef {{ text?: string, class?: number }} Words
 */

/**
 * An event: generator step, kind, sentence.
 * @typedef {[number, string, string]} Mark
 */

/**
 * @typedef {object} Alert
 * @property {string} title
 * @property {string} text
 * @property {{ do: string, label: string }[]} [actions]
 */

/**
 * What was found in a folder of real images (`FolderReport` in `kgen/data/class_folders.py`).
 * @typedef {object} FolderCheckReport
 * @property {string} split
 * @property {number} images
 * @property {{ name: string, folders: string[], images: number }[]} classes
 * @property {{ folder: string, images: number, reason: string }[]} ignored
 * @property {{ text: string, remedy: string }[]} remarks
 */

/** @typedef {{ name: string, title: string, classes: number }} Judge */

/**
 * @typedef {object} Teacher
 * @property {string} name
 * @property {string} title
 * @property {string} data
 * @property {number | null} accuracy
 * @property {number} n_test
 * @property {number} n_train
 * @property {number} side
 * @property {number} channels
 * @property {number[]} map Rows and columns.
 * @property {string} [licence]
 * @property {number} [parameters]
 * @property {number} [macs]
 * @property {number} [bytes]
 */

/** @typedef {{ name?: string, parameters?: number, macs?: number, bytes?: number }} Student */

/**
 * @typedef {object} Progress
 * @property {string} label
 * @property {number} share
 * @property {number | null} left_s
 * @property {number | null} slowdown A generator step's time relative to the start of the run.
 */

/**
 * The state of the run being shown, from /kg/live.
 * @typedef {object} Snapshot
 * @property {string | null} run
 * @property {string} id
 * @property {number} attempt
 * @property {string} boot Of the server process.
 * @property {string} phase
 * @property {string} title
 * @property {string} command
 * @property {string} [machine]
 * @property {Words[]} sentence
 * @property {Alert | null} alert
 * @property {{ text: string, remedy?: string }[]} warnings
 * @property {Progress} progress
 * @property {boolean} [can_skip] Stop ends what the engine is doing with the real images.
 * @property {Counters} counters
 * @property {string[]} classes
 * @property {number[]} class_indices
 * @property {Teacher} teacher
 * @property {Student} student
 * @property {Recipe} recipe
 * @property {Scale[]} scales
 * @property {number} processes How many share each turn of a resolution.
 * @property {{ kind: string, label: string }} map
 * @property {Judge | null} judge
 * @property {Group | null} making The batch in progress.
 * @property {Curve} curve
 * @property {Table} opinion
 * @property {Table} loss
 * @property {Table} student_loss
 * @property {string} tested_on
 * @property {Mark[]} marks
 * @property {[number, number] | null} best Generator step and share of the best test.
 * @property {number} views Tests whose student's view is known.
 * @property {{ images: number, used_images: number, used: number, ratio: number }} budget
 * @property {number[] | null} radii
 * @property {boolean} student_ready
 * @property {string} layout
 * @property {boolean} [replay]
 */

/**
 * @typedef {object} Counters
 * @property {number} generator_step
 * @property {number} generator_steps
 * @property {number} student_step
 * @property {number} student_steps
 * @property {number} iterations_done
 * @property {number} iterations
 */

/**
 * What was known at an earlier moment, or the part of it that has arrived.
 * @typedef {object} Past
 * @property {number} at In generator steps of the run.
 * @property {number} iteration
 * @property {number} step
 * @property {number} [student_step]
 * @property {number} [used_images]
 * @property {number} [used]
 * @property {number | null} [accuracy]
 * @property {number} [n]
 * @property {number} [views]
 * @property {Words[]} [sentence]
 */

// --- images

/**
 * An image of a group and its position on the group's sheet.
 * @typedef {object} Tile
 * @property {number} pos Position in the batch.
 * @property {number} c Class.
 * @property {number} p The teacher's certainty.
 * @property {number} col
 * @property {number} row
 * @property {Float32Array} cam The teacher's map.
 * @property {number} [x]
 * @property {number} [y]
 * @property {number} [z]
 */

/**
 * The images shown from one iteration, on one sheet. During a replay, `finishedGroup` is the group
 * at the end of the iteration.
 * @typedef {object} Group
 * @property {number} iteration
 * @property {number} side
 * @property {string} sheet
 * @property {number} columns
 * @property {number} rows
 * @property {number[]} map Rows and columns of the teacher's map.
 * @property {Tile[]} tiles
 * @property {Map<number, Tile>} byPos
 * @property {{ step: number, sheet: string }[]} [frames] The recorded intermediate steps.
 * @property {string} [cams] The sheet of maps, once requested.
 * @property {number} [step]
 * @property {number} [steps]
 * @property {Group} [finishedGroup]
 * @property {boolean} [replay]
 * @property {boolean} [unfinished] Before the end of the iteration.
 */

/**
 * What the Studio draws at a moment.
 * @typedef {object} Frame
 * @property {number} finishedIterations Number of iterations shown as finished.
 * @property {Group | null} current The group shown last.
 * @property {Past | null} past Null when live.
 * @property {{ showing: number, live: number } | null} lag Iterations.
 * @property {boolean} [waiting] The moment's data has not arrived yet.
 */

/**
 * What a page passes to each of its panels: the run's data, the moment, and the selection. A panel
 * uses what it needs, and skips the work if nothing has changed since it last drew.
 * @template [Snap=Snapshot]
 * @template [Time=Frame]
 * @template [Selected=Selection]
 * @typedef {object} PanelState
 * @property {Snap} snapshot
 * @property {Time} moment
 * @property {Selected} selection
 */

/**
 * A part of a page. Its constructor takes the elements and services that it needs.
 * @template [S=PanelState]
 * @typedef {{ draw(shown: S): void }} Panel
 */

/**
 * The image that the Studio's panels show.
 * @typedef {object} Selection
 * @property {ImageKey | null} imageKey
 * @property {boolean} pinned A person selected it; otherwise it comes from the newest batch.
 * @property {DisplayedImage | null} image Null until it is known.
 */

/**
 * Classes and probabilities, most likely first.
 * @typedef {[number, number][]} TopClasses
 */

/**
 * One image in full, as the Studio reads it.
 * @typedef {object} Sample
 * @property {number} pos
 * @property {number} c
 * @property {number} p
 * @property {string} image
 * @property {Float32Array} cam
 * @property {Record<string, number>} [parts] Terms of its loss.
 * @property {TopClasses} [teacher_top]
 * @property {TopClasses} [student_top]
 * @property {{ i: number, c: number, d: number }[]} [nearest]
 * @property {number} [x]
 * @property {number} [y]
 * @property {number} [z]
 */

/**
 * A crop of a contact sheet, or a whole image.
 * @typedef {object} Crop
 * @property {string} url
 * @property {number} [col]
 * @property {number} [row]
 * @property {number} [columns]
 * @property {number} [rows]
 */

/**
 * The image that the Studio's panels show.
 * @typedef {object} DisplayedImage
 * @property {number} it
 * @property {number} pos
 * @property {number} c
 * @property {number} p
 * @property {boolean} finished
 * @property {boolean} [replayed]
 * @property {number | null} [step]
 * @property {Float32Array | null} cam Null if unknown at that moment.
 * @property {Sample | null} sample
 * @property {Crop} crop
 * @property {number | null} [x]
 * @property {number} [y]
 * @property {number} [z]
 */

/**
 * Real examples on one sheet, and their positions.
 * @typedef {object} Reference
 * @property {number} n
 * @property {string} sheet
 * @property {number} columns
 * @property {number} rows
 * @property {number[]} c
 * @property {number[]} [x]
 * @property {number[]} [y]
 * @property {number[]} [z]
 * @property {boolean} [pixels]
 */

/**
 * The student's view of some images at a test.
 * @typedef {object} StudentView
 * @property {number} test
 * @property {number[]} c
 * @property {number[]} iteration
 * @property {number[]} pos
 * @property {number[]} x
 * @property {number[]} y
 * @property {number[]} z
 * @property {{ x: number[], y: number[], z?: number[] }} reference
 * @property {{ x: number[], y: number[], z: number[] } | null} [anchors]
 * @property {number[]} [radii]
 * @property {string} [axes]
 */

// --- the Inspect page

/**
 * A run, from /kg/inspect.
 * @typedef {object} Overview
 * @property {string} run
 * @property {string} id
 * @property {number} attempt
 * @property {string[]} classes
 * @property {number[]} class_indices
 * @property {{ name: string }} teacher
 * @property {Judge & { indices: number[] } | null} judge
 * @property {CustomTerm[]} [own_terms]
 * @property {boolean} student
 * @property {Recipe} recipe
 * @property {Scale[]} scales
 * @property {number} processes How many share each turn of a resolution.
 * @property {{ kind: string, label: string }} map
 * @property {number} done Iterations.
 * @property {boolean} over
 * @property {number} tests
 * @property {number} span Iterations per piece.
 * @property {number} warmup
 * @property {string} tested_on
 * @property {{ grid: number, zip: number }} most
 */

/**
 * A real image and its distance.
 * @typedef {{ c: number, d: number, image?: string }} RealNeighbor
 */

/**
 * One image in full, as the Inspect page reads it.
 * @typedef {object} ImageDetail
 * @property {number} iteration
 * @property {number} pos
 * @property {number} c
 * @property {number} n Images of its batch.
 * @property {number} side
 * @property {number | null} p
 * @property {number | null} s
 * @property {number | null} rank
 * @property {string} image
 * @property {number[]} map
 * @property {number[]} cam
 * @property {{ step: number, image: string, p: number | null }[]} frames
 * @property {boolean} frames_kept
 * @property {number | null} kept_step
 * @property {Record<string, number>} parts
 * @property {Record<string, number[]>} batch
 * @property {string[]} shared Terms with one value per batch.
 * @property {TopClasses} [teacher_top]
 * @property {TopClasses} [student_top]
 * @property {TopClasses} [judge_top]
 * @property {{ of: number, pixels: boolean, found: RealNeighbor[] }} [nearest] Real images.
 * @property {boolean} entered
 * @property {string} [warning]
 * @property {[number, number]} before
 * @property {[number, number]} after
 */

/**
 * Similar synthetic images of other classes, or why there are none.
 * @typedef {object} Neighbors
 * @property {string} [error]
 * @property {(ImageOfClass & { d: number, image: string })[]} [found]
 * @property {number} [compared]
 * @property {number} [looked]
 * @property {number} [of]
 * @property {Record<string, number[]>} [shared]
 */

/**
 * Test results of a class, or why they are unknown.
 * @typedef {object} ClassTests
 * @property {string} [error]
 * @property {[number, number | null, number | null][]} [rows] Images, student, teacher.
 * @property {boolean} [real]
 * @property {number} [n]
 * @property {number[]} [all]
 * @property {[number, number][]} [student]
 * @property {[number, number][]} [teacher]
 */

/**
 * What the Inspect page shows of an image. The neighbors are null until they arrive.
 * @typedef {{ image: ImageDetail, neighbors: Neighbors | null }} ImageAndNeighbors
 */

/**
 * What the Inspect page shows of a class. Order and filter are as in the address.
 * @typedef {object} ImagesOfClass
 * @property {import('../store/run_store.js').Samples} samples
 * @property {string | null} sort
 * @property {string | null} where
 * @property {ClassTests | null} tests
 */

/**
 * A sweep in the list of sweeps.
 * @typedef {object} SweepRow
 * @property {string} name
 * @property {string} recipe
 * @property {string[]} fields What is varied.
 * @property {number} runs
 * @property {Record<string, number>} states How many runs are in each state.
 * @property {number} began Seconds since 1970.
 */

/**
 * A sweep with all its runs, /kg/sweeps/NAME.
 * @typedef {object} Sweep
 * @property {string} name
 * @property {string} recipe
 * @property {SweepDimension[]} axes
 * @property {number[]} seeds
 * @property {SweepRun[]} runs
 */

/** @typedef {{ field: string, label: string, values: string[] }} SweepDimension */
/** @typedef {{ mean: number | null, deviation: number | null, n: number }} SweepCell */

/**
 * A run of a sweep.
 * @typedef {object} SweepRun
 * @property {string | null} run Its name on the other pages; null if there is nothing to show.
 * @property {number[]} at An index into each axis's values.
 * @property {number} seed
 * @property {string} state
 * @property {number | null} share Accuracy, or agreement if it is not `real`.
 * @property {boolean} real
 * @property {number} n Images behind the share.
 * @property {number} seconds
 */

/** @typedef {{ name: string, low: number, high: number }} Condition */
/** @typedef {{ name: string, descending: boolean }} Sorting */

/**
 * A column for sorting and filtering images. People see a value times `scale`, plus `offset`.
 * @typedef {object} Column
 * @property {string} name
 * @property {string} title
 * @property {number} [scale]
 * @property {number} [offset]
 * @property {string} [unit]
 * @property {boolean} [judge]
 */

/** @typedef {{ url: string, cell: number, columns: number, rows: number }} ContactSheet */

// --- runs, comparisons, setup, lessons

/**
 * A run in the list from /kg/runs.
 * @typedef {object} Run
 * @property {string} name
 * @property {string} title
 * @property {string} recipe
 * @property {string} teacher
 * @property {string} note
 * @property {string} state
 * @property {string} [picture]
 * @property {number} [classes]
 * @property {number} images
 * @property {number} budget
 * @property {number} used
 * @property {number} seconds
 * @property {number} began
 * @property {number} bytes
 * @property {{ share: number, real: boolean, n: number } | null} score
 * @property {number | null} teacher_score
 * @property {Worth | null} worth
 * @property {boolean} shown
 * @property {boolean} brought
 * @property {boolean} resumable
 * @property {boolean} own_images
 */

/**
 * A run's exchange rate, or the part of it that has been measured.
 * @typedef {object} Worth
 * @property {number} n
 * @property {number} steps
 * @property {number} seed
 * @property {{ images: number, real: boolean, accuracy: number }[]} points
 * @property {{ photos: number, bound: string } | null} rate
 * @property {string} sentence
 */

/**
 * A compared run, once its columns have arrived.
 * @typedef {object} ComparedRun
 * @property {number} i Its position among the compared runs.
 * @property {string} letter
 * @property {string} name
 * @property {string} id
 * @property {number} attempt
 * @property {string[]} classes
 * @property {number | null} budget
 * @property {number | null} ceiling
 * @property {any} columns
 */

/**
 * The Compare page's data.
 * @typedef {object} Comparison
 * @property {any} response The response of /kg/compare; null until it arrives.
 * @property {any[]} runs All of them, in order.
 * @property {ComparedRun[]} loadedRuns Those whose columns have arrived.
 */

/** @typedef {'budget' | 'time' | 'step'} Axis */

/**
 * A position on an axis.
 * @typedef {object} AxisPosition
 * @property {Axis} axis
 * @property {'pixels' | 't' | 'step'} column The column that holds the axis.
 * @property {number} x
 * @property {number} max The end of the axis.
 */

/**
 * What the server knows about a teacher.
 * @typedef {object} Facts
 * @property {Teacher} card
 * @property {Student} [student]
 * @property {string[]} classes
 * @property {number[]} sides
 * @property {number} small
 * @property {number} full
 */

/** @typedef {{ teacher: string, chosen: string[] }} ClassChoice */

/**
 * @typedef {object} Finding
 * @property {'ok' | 'warn' | 'fail'} status
 * @property {string} name
 * @property {string} finding
 * @property {string} [advice]
 * @property {string[]} [lines] Python code that fixes it.
 */

/**
 * The findings of a teacher check.
 * @typedef {object} Report
 * @property {Finding[]} rows
 * @property {boolean} ok
 * @property {boolean} done
 * @property {string} [error]
 * @property {string} [saved]
 * @property {string[]} [weights] The weights in the file, if there are several to choose from; an
 *   empty name is the file itself.
 * @property {string} [taken] Those that were checked.
 * @property {{ mean: number[], std: number[] }} [normalize] Of a Normalize layer in the file.
 */

/**
 * @typedef {object} Lesson
 * @property {string} slug
 * @property {string} title
 * @property {string} question
 * @property {string} predict
 * @property {string[]} choices
 * @property {number} minutes
 * @property {any[][]} text
 * @property {string} [paper]
 * @property {{ name: string, a: string, b: string, fields: string[][] } | null} switch
 * @property {Record<string, string>} commands
 * @property {{ name: string, title: string }[]} table
 * @property {Record<string, Record<string, string>>} seeds
 * @property {string[]} figures
 * @property {{ slug: string, title: string } | null} next
 */

/**
 * @typedef {object} GlossaryTerm
 * @property {string} id
 * @property {string} name
 * @property {string[]} also
 * @property {string} tip
 * @property {any[]} more
 * @property {string[]} see
 * @property {string} [equation]
 */

// --- passed between modules

/**
 * Points of a cloud, with positions in 0…1.
 * @typedef {object} CloudPoints
 * @property {number} n
 * @property {number[]} [c] Classes.
 * @property {number[]} [x]
 * @property {number[]} [y]
 * @property {number[]} [z]
 * @property {string[]} [keys] Keys that persist from one set of points to the next.
 * @property {string[]} [colors] CSS colors.
 * @property {boolean[] | null} [dimmed] Points that are dimmed and ignore the pointer.
 * @property {boolean[] | null} [faded]
 * @property {number[]} [iteration]
 * @property {number[]} [pos]
 * @property {number[]} [value]
 */

/**
 * An anchor with its balls.
 * @typedef {object} Ball
 * @property {number} x
 * @property {number} y
 * @property {number} z
 * @property {number[]} [radii]
 * @property {string} color
 * @property {boolean} dimmed
 */

/** @typedef {(x: number, y: number, z?: number) => number[]} Projection */

/**
 * Callbacks of a cloud.
 * @typedef {object} CloudEvents
 * @property {(index: number) => void} onClick
 * @property {(indices: number[], lasso: string | null) => void} onSelect
 * @property {(index: number | null, x?: number, y?: number) => void} onHover
 * @property {(ctx: CanvasRenderingContext2D, project: Projection) => void} afterPaint
 */

/** @typedef {{ sheet: ContactSheet, index: number, side: number }} GridTile */

/**
 * What the loss strips need to know about their image.
 * @typedef {object} StripFacts
 * @property {ImageDetail} image
 * @property {(index: number) => string} nameOf
 * @property {{ missing: number[], count: number, sum: number }} missing
 * @property {boolean} inWarmup In warm-up.
 */

/** @typedef {{ choice?: number, done?: boolean }} Prediction */

/**
 * Constants of the ladder (app/setup/ladder.py).
 * @typedef {object} Ladder
 * @property {string[]} rungs
 * @property {string[]} presets
 * @property {number[]} sides
 * @property {number} full
 * @property {number} small
 * @property {number} kr
 * @property {number} ed
 * @property {number} aed
 */

/**
 * The class picker's connection to Python.
 * @typedef {object} PickerPage
 * @property {string} base
 * @property {() => ClassChoice | null} value
 * @property {(value: ClassChoice) => void} set
 * @property {(changed: () => void) => void} watch
 */

/** @typedef {{ base: string, adopted: (name: string) => void }} DialogPage */
/** @typedef {{ architectures: string[], data: string[] }} Suggestions */

/**
 * The Studio's connection to Python. A viewer's page has none.
 * @typedef {object} Gradio
 * @property {string} base
 * @property {string} plotly Address of the script.
 * @property {boolean} [watching] On the audience's page.
 * @property {() => string} [command]
 * @property {() => void} [repaint]
 * @property {() => void} [resume]
 */

export {};
