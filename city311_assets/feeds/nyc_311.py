"""New York 311: service requests of the city's agencies since January 2020."""

from city311_assets.feeds.feed import BoundarySet, BoundingBox, City, Feed, SourceColumn

NEW_YORK = City(
    name="new_york",
    title="New York",
    portal="data.cityofnewyork.us",
    timezone="America/New_York",
    latitude=40.71,
    longitude=-73.96,
    box=BoundingBox(south=40.47, west=-74.29, north=40.94, east=-73.68),
    boundaries=(
        BoundarySet("neighborhood", "9nt8-h7nd", name_property="ntaname", code_property="nta2020"),
        BoundarySet("district", "5crt-au7u", name_property="boro_cd", code_property="boro_cd"),
    ),
)

UNSPECIFIED = frozenset({"unspecified", "0 unspecified"})
BOROUGHS = ("manhattan", "bronx", "brooklyn", "queens", "staten island")

NYC_311 = Feed(
    name="nyc_311",
    title="New York 311 service requests",
    city=NEW_YORK,
    kind="request",
    dataset="erm2-nwe9",
    record_id="unique_key",
    opened="created_date",
    closed="closed_date",
    changed="resolution_action_updated_date",
    columns=(
        SourceColumn("unique_key", "Number of the request."),
        SourceColumn("created_date", "When it was opened."),
        SourceColumn("closed_date", "When it was closed; absent while open."),
        SourceColumn("agency", "Agency responsible, by its letters."),
        SourceColumn("agency_name", "Agency responsible, in words."),
        SourceColumn(
            "complaint_type", "Kind of request.", ("Problem (formerly Complaint Type)", "Problem")
        ),
        SourceColumn(
            "descriptor", "Finer kind.", ("Problem Detail (formerly Descriptor)", "Problem Detail")
        ),
        SourceColumn("descriptor_2", "Finest kind.", ("Additional Details",)),
        SourceColumn("location_type", "Kind of place."),
        SourceColumn("incident_zip", "ZIP code."),
        SourceColumn("incident_address", "Address; absent at a crossing."),
        SourceColumn("street_name", "Name of the street."),
        SourceColumn("cross_street_1", "First street across the block."),
        SourceColumn("cross_street_2", "Second street across the block."),
        SourceColumn("intersection_street_1", "First street of a crossing."),
        SourceColumn("intersection_street_2", "Second street of a crossing."),
        SourceColumn("address_type", "ADDRESS, INTERSECTION, BLOCKFACE and so on."),
        SourceColumn("city", "City of the address as the post names it."),
        SourceColumn("landmark", "Name of the place, if it has one."),
        SourceColumn("facility_type", "Kind of the city's facility; N/A where there is none."),
        SourceColumn("status", "Open, In Progress, Closed and so on."),
        SourceColumn("due_date", "When the agency means to have answered."),
        SourceColumn("resolution_description", "What the agency did last, a set sentence."),
        SourceColumn("resolution_action_updated_date", "When the agency last did something."),
        SourceColumn("community_board", "Number of the community board, and borough."),
        SourceColumn("council_district", "City council district, 1 to 51."),
        SourceColumn("police_precinct", "Police precinct."),
        SourceColumn("bbl", "Borough, block and lot of the parcel."),
        SourceColumn("borough", "Borough; Unspecified where unknown."),
        SourceColumn("x_coordinate_state_plane", "New York Long Island easting, feet."),
        SourceColumn("y_coordinate_state_plane", "New York Long Island northing, feet."),
        SourceColumn("open_data_channel_type", "How it came in."),
        SourceColumn("park_facility_name", "Park or part of it; Unspecified outside one."),
        SourceColumn("park_borough", "Borough of the park."),
        SourceColumn("vehicle_type", "Kind of vehicle, for taxis and limousines."),
        SourceColumn("taxi_company_borough", "Borough of the taxi company."),
        SourceColumn("taxi_pick_up_location", "Where the taxi was taken."),
        SourceColumn("bridge_highway_name", "Bridge, tunnel, highway or line."),
        SourceColumn("bridge_highway_direction", "Direction of travel on it."),
        SourceColumn("road_ramp", "Road or ramp."),
        SourceColumn("bridge_highway_segment", "Part of it."),
        SourceColumn("latitude", "Latitude in degrees."),
        SourceColumn("longitude", "Longitude in degrees."),
        SourceColumn("location", "Both, as GeoJSON, as an object or as text."),
    ),
    fields={
        "kind": "complaint_type",
        "subkind": "descriptor",
        "description": "descriptor_2",
        "status": "status",
        "status_notes": "resolution_description",
        "agency": "agency",
        "address": "incident_address",
        "district": "community_board",
        "police_district": "police_precinct",
        "latitude": "latitude",
        "longitude": "longitude",
        "source_channel": "open_data_channel_type",
    },
    required=("unique_key", "created_date", "closed_date", "complaint_type"),
    taxonomy="nyc_311_v1",
    outcome="closed_within_7_days",
    # A kind may be `Unspecified` too; such a request is still one.
    missing={
        "*": frozenset({"", "null", "none", "n/a"}),
        "subkind": UNSPECIFIED,
        "description": UNSPECIFIED,
        "status": UNSPECIFIED,
        "address": UNSPECIFIED,
        "district": UNSPECIFIED | {f"unspecified {borough}" for borough in BOROUGHS},
        "police_district": UNSPECIFIED,
        "source_channel": frozenset({"unknown"}),
    },
    # Requests for printed matter and praise; calls that ask for words only are another dataset.
    administrative_kinds=frozenset(
        {
            "DCA Literature Request",
            "DEP Literature Request",
            "DFTA Literature Request",
            "DOF Literature Request",
            "DOR Literature Request",
            "DOT Literature Request",
            "DPR Literature Request",
            "HPD Literature Request",
            "OEM Literature Request",
            "Literature Request",
            "Taxi Compliment",
        }
    ),
    licence="NYC Open Data terms of use",
    records_per_day=9_500,
)
