"""San Francisco 311: cases of the city's service centre, since July 2008."""

from city311_assets.feeds.feed import BoundarySet, BoundingBox, City, Feed, SourceColumn

SAN_FRANCISCO = City(
    name="san_francisco",
    title="San Francisco",
    portal="data.sfgov.org",
    timezone="America/Los_Angeles",
    latitude=37.77,
    longitude=-122.42,
    box=BoundingBox(south=37.60, west=-122.65, north=37.94, east=-122.28),
    boundaries=(
        BoundarySet("neighborhood", "pty2-tcw4", name_property="name"),
        BoundarySet("district", "f2zs-jevy", name_property="sup_dist", code_property="sup_dist"),
    ),
)

SF_311 = Feed(
    name="sf_311",
    title="San Francisco 311 cases",
    city=SAN_FRANCISCO,
    kind="request",
    dataset="vw6y-z8j6",
    record_id="service_request_id",
    opened="requested_datetime",
    closed="closed_date",
    changed="updated_datetime",
    columns=(
        SourceColumn("service_request_id", "Number of the case.", ("CaseID", "unique_key")),
        SourceColumn("requested_datetime", "When it was opened.", ("Opened", "created_date")),
        SourceColumn("closed_date", "When it was closed; absent while open.", ("Closed",)),
        SourceColumn(
            "updated_datetime",
            "When the case last changed.",
            ("Updated", "resolution_action_updated_date"),
        ),
        SourceColumn("status_description", "Open or Closed.", ("Status",)),
        SourceColumn("status_notes", "What the agency wrote, mostly at closing."),
        SourceColumn(
            "agency_responsible", "Queue it went to.", ("Responsible Agency", "agency_name")
        ),
        SourceColumn("service_name", "Kind of request.", ("Category",)),
        SourceColumn("service_subtype", "Finer kind.", ("Request Type", "complaint_type")),
        SourceColumn("service_details", "Finest kind.", ("Request Details", "descriptor")),
        SourceColumn("address", "Address or crossing.", ("incident_address",)),
        SourceColumn("street", "Street of the address."),
        SourceColumn("supervisor_district", "Supervisor district, 1 to 11."),
        SourceColumn(
            "neighborhoods_sffind_boundaries", "Neighbourhood (SF Find).", ("Neighborhood",)
        ),
        SourceColumn("analysis_neighborhood", "Neighbourhood (analysis areas)."),
        SourceColumn("police_district", "Police district."),
        SourceColumn("lat", "Latitude in degrees; 0 where there is no address.", ("Latitude",)),
        SourceColumn("long", "Longitude in degrees; 0 where there is no address.", ("Longitude",)),
        SourceColumn("point", "Both, as an object or as text.", ("location",)),
        SourceColumn("point_geom", "The point as GeoJSON."),
        SourceColumn("source", "How it came in: phone, web, mobile."),
        SourceColumn("media_url", "Link to a photo or to a page about one."),
        SourceColumn("bos_2012", "Supervisor district of 2012."),
        SourceColumn("data_as_of", "When the source system was read.", ()),
        SourceColumn("data_loaded_at", "When the portal loaded it.", ()),
    ),
    fields={
        "kind": "service_name",
        "subkind": "service_subtype",
        "description": "service_details",
        "status": "status_description",
        "status_notes": "status_notes",
        "agency": "agency_responsible",
        "address": "address",
        "neighborhood": "neighborhoods_sffind_boundaries",
        "district": "supervisor_district",
        "police_district": "police_district",
        "latitude": "lat",
        "longitude": "long",
        "source_channel": "source",
        "media_url": "media_url",
    },
    required=("service_request_id", "requested_datetime", "closed_date", "service_name"),
    taxonomy="sf_311_v1",
    outcome="closed_within_7_days",
    missing={
        "*": frozenset({"", "null", "none", "n/a"}),
        "district": frozenset({"-1", "0"}),
        "address": frozenset({"not associated with a specific address"}),
    },
    licence="City and County of San Francisco, Open Data Commons PDDL 1.0",
    records_per_day=2_200,
    photo_hosts=(
        "mobile311.sfgov.org",
        "spot-sf-res.cloudinary.com",
        "sanfrancisco.form.us.empro.verintcloudservices.com",
    ),
)
